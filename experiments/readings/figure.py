"""Every choice of `over` on CNN-7 by depth, and the tables of README.md.

The rows are those of experiments/symmetry (CNN-7) and experiments/public_similarity (ResNet-44 of others).
"""

from pathlib import Path

import pandas as pd
from scipy.stats import spearmanr

from equivariance import rows
from equivariance.figures import style
from equivariance.names import BEFORE_POOLING, OVER
from equivariance.study.figures import facets, legend
from equivariance.study.tables import crossed, markdown
from experiments.symmetry.figure import TASKS

TURNED = ("mnist6_rot_inv", "mnist6_rot_eq")


def by_layer(folder: Path) -> pd.DataFrame:
    """Scores by layer of the trained networks of which there are rows of every choice."""
    results = rows.read(folder.parent / "symmetry/results.csv")
    results = rows.of_last_epoch(results[results.trained.astype(bool)])
    return rows.by_layer(results[results.seed.isin(results[results.over == "image"].seed)])


def figures(folder: Path) -> dict[str, style.Figure]:
    """Equivariance by depth: a panel for each task, a line for each choice."""
    layers = by_layer(folder)
    shown = layers[layers.score == "equivariance"]
    figure, grid = facets(shown, draw, ("dataset", TASKS), each=1.5, more=0.9, sharex=True)
    grid[1, 0].set_ylabel("equivariance")
    legend(figure)
    seeds = shown.seed.nunique()
    figure.suptitle(f"CNN-7, quarter turns, {seeds} seed{'s' * (seeds > 1)}; pooling at the line", fontsize=8)
    return {"figure": figure}


def draw(axes: style.Axes, panel: pd.DataFrame) -> None:
    """Mean over seeds."""
    for over, look in style.looks(OVER).items():
        mean = panel[panel.over == over].groupby(["index", "layer"]).value.mean().reset_index("layer")
        axes.plot(mean.index, mean.value, label=f"over={over}", **look)
    style.depth_axis(axes, list(mean.layer))
    axes.axvline(panel[panel.part.isin(BEFORE_POOLING)]["index"].max() + 0.5, color="0.6", lw=0.6, zorder=0)


def page(folder: Path) -> str:
    """Scores by layer for each task and choice; the papers' statements, one by one; ResNet-44."""
    layers, cifar = by_layer(folder), rows.read(folder.parent / "public_similarity/results.csv")
    seeds, names = layers.seed.nunique(), list(layers.drop_duplicates("index").sort_values("index").layer)
    mean = layers.groupby(["score", "dataset", "over", "layer"]).value.mean().reset_index()
    readings = {over: f"`{over}`" for over in OVER}
    lines = {"score": ("equivariance", "invariance"), "dataset": TASKS, "over": readings}
    falls = "equivariance falls in every block until pooling (Spearman's rho, mean)"
    jumps = "the largest step of Rot-Inv and Rot-Eq comes after pooling"
    late = cifar[(cifar.similarity == "pearson") & cifar.part.eq("late") & cifar.trained.astype(bool)]
    both_scores = "{invariance:.2f} / {equivariance:.2f}"
    held = [[name, *statements(layers[layers.over == over])] for over, name in readings.items()]
    both = late.groupby(["over", "model", "score"]).value.mean().unstack().reset_index()
    return "\n".join(
        [
            f"CNN-7 after 100 epochs, {seeds} seed{'s' * (seeds > 1)}, mean over the three quarter turns:\n",
            crossed(mean, lines, {"layer": names}, head=["score", "task", "over"]),
            "The papers' statements, in how many networks each holds:\n",
            markdown(["over", falls, jumps], held),
            "ResNet-44 on CIFAR-10 of others, 90 degrees, mean of the late blocks, invariance / equivariance:\n",
            crossed(both, {"over": readings}, {"model": sorted(late.model.unique())}, both_scores),
        ]
    )


def statements(layers: pd.DataFrame) -> tuple[str, str]:
    """In how many networks equivariance falls until pooling, and takes its largest step there."""
    of_score = layers[layers.score == "equivariance"]
    networks = [one.sort_values("index") for _, one in of_score.groupby(["dataset", "seed"])]
    blocks = [one[one.part.isin(BEFORE_POOLING)].value.to_numpy() for one in networks]
    rho = sum(spearmanr(range(len(each)), each).statistic for each in blocks) / len(blocks)
    falls = sum((each[1:] < each[:-1]).all() for each in blocks)
    turned = [one for one in networks if one.dataset.iloc[0] in TURNED]
    steps = [one[~one.part.eq("final")].value.diff().to_numpy() for one in turned]
    largest = sum(step[-1] == max(step[1:]) for step in steps)
    return f"{falls} of {len(blocks)} ({rho:.2f})", f"{largest} of {len(steps)}"
