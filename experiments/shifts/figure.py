"""Thesis Fig. 8 for the published ResNet-44: invariance shift by shift, in three directions."""

from pathlib import Path

from equivariance import rows
from equivariance.figures.compare import plot_compare
from equivariance.figures.style import Figure
from equivariance.study.tables import markdown
from equivariance.study.verdicts.parts import STRIDES
from experiments.augmentation.figure import mark_strides

DIRECTIONS = ("diagonal", "horizontal", "vertical")
SHOWN = (1, 2, 3, 4, 5, 6, 7, 8, 15, 16)  # pixels
PARTS = (*STRIDES, "pool", "final")


def figures(folder: Path) -> dict[str, Figure]:
    """A curve for each direction."""
    tables = {name: rows.of_first_over(rows.read(folder / f"{name}.csv")) for name in DIRECTIONS}
    figure = plot_compare(tables, "element", "invariance", title="Published ResNet-44", parts=tuple(STRIDES))
    return {"figure": mark_strides(figure)}


def page(folder: Path) -> str:
    """Invariance by part and shift, for each direction and `over`; and how much larger equivariance is."""
    found = {name: rows.read(folder / f"{name}.csv") for name in DIRECTIONS}
    lines = []
    for direction, each in found.items():
        mean = each[each.score == "invariance"].groupby(["over", "part", "element"]).value.mean()
        for part in PARTS if direction == "diagonal" else STRIDES:
            stride = f", stride {STRIDES[part]}" if part in STRIDES else ""
            for over in sorted(each.over.unique(), reverse=True):
                lines.append([f"{direction}, {part}{stride}", f"`{over}`", *mean[over, part][list(SHOWN)]])
    scores = found["diagonal"].groupby(["score", "over", "part"]).value.mean()
    gap = (scores["equivariance"] - scores["invariance"]).max()
    sizes = ", ".join(f"{direction} {each.images.max()}" for direction, each in found.items())
    table = markdown(["invariance at a shift of", "over", *map(str, SHOWN)], lines)
    return f"{table}\nImages: {sizes}. Equivariance is {gap:.3f} larger at most, averaged over shifts.\n"
