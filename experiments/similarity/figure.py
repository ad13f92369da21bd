"""Thesis Fig. 5 / paper Fig. 2: cosine and correlation (a) on random maps, and (b) block by block on networks."""

from pathlib import Path

import numpy as np
import pandas as pd

from equivariance.figures import style
from equivariance.names import SIMILARITIES
from equivariance.study.figures import legend, measured

NAMES = {"pearson": "correlation", "cosine": "cosine"}
LOOKS = style.looks(SIMILARITIES)


def figures(folder: Path) -> dict[str, style.Figure]:
    """Both panels; a marker of (b) is a residual block, its shape the network."""
    results = measured(folder)
    figure, grid = style.panels(2, 1, 1.7, 1.0, height_ratios=(1, 1.5))
    random_maps(grid[0, 0])
    by_activation(grid[1, 0], results)
    legend(figure, ncols=1, fontsize=6.5)
    return {"figure": figure}


def random_maps(axes: style.Axes) -> None:
    """Similarity of two random maps, the same number added to both, against that number."""
    a, b = np.random.default_rng(0).normal(size=(2, 32 * 32))
    added = np.linspace(0, 2, 21)
    cosine = [(a + x) @ (b + x) / np.linalg.norm(a + x) / np.linalg.norm(b + x) for x in added]
    curves = {"pearson": [np.corrcoef(a + x, b + x)[0, 1] for x in added], "cosine": cosine}
    for similarity, curve in curves.items():
        colour = LOOKS[similarity]["color"]
        axes.plot(added, curve, color=colour)
        axes.text(2, curve[-1] - 0.05, NAMES[similarity], color=colour, ha="right", va="top", fontsize=7)
    axes.set_ylim(-0.3, 1)
    axes.axhline(0, color=style.GREY, lw=0.6)
    axes.set_xlabel("added to two random maps")
    axes.set_ylabel("similarity")
    axes.set_title("(a) random maps", loc="left")


def by_activation(axes: style.Axes, results: pd.DataFrame) -> None:
    """Invariance of every residual block against the mean activation of its maps, by both similarities."""
    blocks = results[(results.score == "invariance") & results.layer.str.startswith("block")]
    models = list(blocks.model.unique())
    for similarity, name in NAMES.items():
        for model, marker in zip(models, style.MARKERS, strict=False):
            one = blocks[(blocks.similarity == similarity) & (blocks.model == model)]
            each = one.groupby("index")[["value", "activation"]].mean()
            r = each.value.corr(each.activation)
            look = {"color": LOOKS[similarity]["color"], "marker": marker, "ms": 3, "mew": 0, "alpha": 0.8}
            label = f"{name}, {model.replace('_resnet44', '')}: r = {r:.2f}"
            axes.plot(each.activation, each.value, ls="", label=label, **look)
    axes.set_xlabel("mean activation of the block")
    axes.set_ylabel("invariance, quarter turn")
    axes.set_ylim(-0.02, 1.02)
    count = len(models)
    axes.set_title(f"(b) ResNet-44, {count} published network{'s' * (count > 1)}", loc="left")
