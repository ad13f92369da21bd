"""Thesis Fig. 7 / paper Fig. 5: rotation invariance and equivariance of CNN-7, by depth and by part."""

from functools import partial
from pathlib import Path

from equivariance.figures.compare import plot_compare
from equivariance.figures.style import Figure
from equivariance.study.figures import measured

TASKS = {"mnist6": "MNIST6", "mnist6_rot_inv": "Rot-Inv", "mnist6_rot_eq": "Rot-Eq"}


def figures(folder: Path) -> dict[str, Figure]:
    """By depth and by part; against the epoch where there are rows of several."""
    results = measured(folder)
    draw = partial(plot_compare, [results], names=TASKS, title="CNN-7")
    drawn = {"figure": draw(), "parts": draw("part")}
    if results[results.trained].epoch.nunique() > 1:
        drawn["epochs"] = draw("epoch")
    return drawn
