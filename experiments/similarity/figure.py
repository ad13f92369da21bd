"""Redraw thesis Fig. 5 / paper Fig. 2: cosine and correlation (a) on random maps, and (b) by depth on ResNet-44."""

import runpy
from pathlib import Path

import numpy as np

from equivariance import rows
from equivariance.figures import style

HERE = Path(__file__).resolve().parent
NAMES = {"pearson": "correlation", "cosine": "cosine"}


def random_maps(axes: style.Axes) -> None:
    """Similarity of two random maps, the same number added to both, against that number."""
    a, b = np.random.default_rng(0).normal(size=(2, 32 * 32))
    added = np.linspace(0, 2, 21)
    cosine = [(a + x) @ (b + x) / np.linalg.norm(a + x) / np.linalg.norm(b + x) for x in added]
    curves = {"pearson": [np.corrcoef(a + x, b + x)[0, 1] for x in added], "cosine": cosine}
    for (similarity, name), colour, marker in zip(NAMES.items(), style.COLOURS, style.MARKERS, strict=False):
        axes.plot(added, curves[similarity], color=colour, marker=marker, markevery=4, label=name)
    axes.axhline(0, color=style.GREY, lw=0.6)
    axes.set_xlabel("added to two random maps")
    axes.set_ylabel("similarity")
    axes.set_title("(a) random maps", loc="left")
    axes.legend()


def by_depth(axes: style.Axes, results: rows.pd.DataFrame) -> None:
    """Invariance by both similarities, and the mean activation on its own axis."""
    claims = runpy.run_path(str(HERE / "claims.py"))
    found = claims["with_activation"](results)["invariance"]
    one = results[(results.score == "invariance") & results.layer.str.startswith("block")]
    for (similarity, name), colour, marker in zip(NAMES.items(), style.COLOURS, style.MARKERS, strict=False):
        curve = one[one.similarity == similarity].groupby("index")[["value", "activation"]].mean()
        label = f"{name}; with the activation r = {found[similarity].iloc[0]:.2f}"
        axes.plot(curve.index, curve.value, color=colour, marker=marker, ms=2.5, label=label)
    other = axes.twinx()
    other.plot(curve.index, curve.activation, color=style.GREY, ls="--")
    axes.plot([], [], color=style.GREY, ls="--", label="mean activation")
    other.spines["right"].set_visible(True)
    other.set_ylabel("mean activation", color=style.GREY)
    other.grid(False)
    other.set_ylim(0, 1.45 * curve.activation.max())
    axes.set_xticks([1, 8, 15, 21])
    axes.set_xlabel("residual block")
    axes.set_ylabel("invariance, quarter turn")
    axes.set_ylim(-0.02, 1.45)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.legend(loc="upper right")
    axes.set_title("(b) published ResNet-44", loc="left")


@style.styled
def main(folder: Path = HERE) -> None:
    results = rows.of_first_over(rows.read(folder / "results.csv"))
    figure, (upper, lower) = style.plt.subplots(
        2, 1, figsize=(style.COLUMN, 4.2), height_ratios=(1, 1.5), layout="constrained"
    )
    random_maps(upper)
    by_depth(lower, results)
    style.save(figure, folder / "figure", ("png", "svg"))
    print(f"drew figure in {folder}")


if __name__ == "__main__":
    main()
