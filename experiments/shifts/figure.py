"""Thesis Fig. 8 for the published ResNet-44: invariance shift by shift, in three directions."""

from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures.compare import plot_compare
from equivariance.figures.style import Figure
from equivariance.names import OVER, PARTS
from equivariance.study.tables import crossed
from equivariance.study.verdicts.parts import STRIDES
from experiments.augmentation.figure import mark_strides

DIRECTIONS = ("diagonal", "horizontal", "vertical")
SHOWN = (1, 2, 3, 4, 5, 6, 7, 8, 15, 16)  # pixels


def figures(folder: Path) -> dict[str, Figure]:
    """A curve for each direction."""
    tables = {name: rows.of_first_over(rows.read(folder / f"{name}.csv")) for name in DIRECTIONS}
    figure = plot_compare(tables, "element", "invariance", title="Published ResNet-44", parts=tuple(STRIDES))
    return {"figure": mark_strides(figure)}


def page(folder: Path) -> str:
    """Invariance by part and shift, for each direction and `over`; and how much larger equivariance is."""
    found = {name: rows.read(folder / f"{name}.csv") for name in DIRECTIONS}
    table = pd.concat(found, names=["direction"]).reset_index("direction")
    table = table[(table.direction == "diagonal") | table.part.isin(STRIDES)]
    means = table.groupby(["direction", "part", "score", "over", "element"]).value.mean()
    parts = {part: f"{part}, stride {STRIDES[part]}" if part in STRIDES else part for part in PARTS}
    lines = {"direction": DIRECTIONS, "part": parts, "over": {each: f"`{each}`" for each in OVER}}
    invariance = crossed(means.xs("invariance", level="score").reset_index(), lines, {"element": SHOWN})
    scores = means["diagonal"].groupby(["score", "over", "part"]).mean()
    gap = (scores["equivariance"] - scores["invariance"]).max()
    sizes = ", ".join(f"{direction} {each.images.max()}" for direction, each in found.items())
    return (
        f"Invariance at a shift of 1 to 16 pixels:\n\n{invariance}\n"
        f"Images: {sizes}. Equivariance is {gap:.3f} larger at most, averaged over shifts.\n"
    )
