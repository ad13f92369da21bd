"""Thesis Fig. 9 / paper Fig. 6a (by part) and thesis Fig. 8 (shift by shift).

What an augmentation changes is small beside the scores themselves, so that both are drawn as differences from the
network without augmentation too. The same figures serve the capacity of a network.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from equivariance.figures.compare import plot_compare
from equivariance.figures.style import Figure
from equivariance.study.figures import measured
from equivariance.study.verdicts.parts import STRIDES


def figures(folder: Path, network: str, minus: Mapping[str, object], names: Mapping[str, str]) -> dict[str, Figure]:
    """Differences and scores by part (figure, parts), differences by shift (shifts), scores by epoch (epochs).

    The scores by shift (dips) are drawn of augmentations alone: between widths they differ too little to be seen.

    Args:
        folder: of the experiment.
        network: heads the figures.
        minus: the network whose scores are subtracted.
        names: of the others, by label.
    """
    results = measured(folder)
    shifted = results[results["transform"] == "translation"]
    draw = partial(plot_compare, [shifted], names=names, title=network)
    drawn = {"figure": draw("part", minus=minus), "parts": draw("part"), "shifts": draw("element", minus=minus)}
    if "aug" in minus:
        drawn["dips"] = mark_strides(draw("element", parts=tuple(STRIDES)))
    course = of_most_epochs(results)
    if course[course.trained].epoch.nunique() > 1:
        drawn["epochs"] = plot_compare([course], "epoch", names=names, title=network, references=False)
    return drawn


def of_most_epochs(results: pd.DataFrame) -> pd.DataFrame:
    """The rows under the transformation that was measured after the most epochs, counted over all networks."""
    networks = results.drop_duplicates(["transform", "aug", "width", "seed", "epoch"])
    most = networks["transform"].value_counts().sort_index(ascending=False).idxmax()  # a tie: translation
    return results[results["transform"] == most]


def mark_strides(figure: Figure) -> Figure:
    """Lines at the multiples of each part's stride."""
    for axes, (part, stride) in zip(figure.axes, STRIDES.items(), strict=True):
        axes.set_ylabel(f"{part}, stride {stride}")
        axes.grid(axis="x", visible=False)
        for shift in range(stride, 17, stride) if stride > 1 else ():
            axes.axvline(shift, color="0.6", lw=0.6, zorder=0)
    return figure
