"""The similarity of layers of two networks as heat maps, and its means as a table."""

from pathlib import Path

import pandas as pd

from equivariance.figures import style
from equivariance.figures.similarity import heat_map
from equivariance.study.tables import markdown

KINDS = {"matching": "best partner", "linear": "best linear map", "cka": "linear CKA"}
AXES = {  # pair: the first and the second network
    "two trainings": ("ResNet-44", "another training"),
    "two widths": ("WRN-16-1", "WRN-16-2"),
    "untrained": ("ResNet-44, trained", "untrained"),
}
SHOWN = {"ResNet": ("stem", "block7", "block14", "final"), "WRN-16": ("stem", "block2", "block4", "final")}


def figures(folder: Path) -> dict[str, style.Figure]:
    """A line of heat maps for each pair, a column for each kind of similarity."""
    table = pd.read_csv(folder / "similarity.csv")
    figure, grid = style.panels(len(AXES), len(KINDS), 1.4, 0.4, sharex="row", sharey="row")
    for (pair, (first, second)), line in zip(AXES.items(), grid, strict=True):
        one = table[table.pair == pair]
        for kind, axes in zip(KINDS, line, strict=True):
            image = heat_map(axes, one, kind)
            axes.tick_params(labelsize=5.5)
        for side, axis in (("a", line[0].yaxis), ("b", line[0].xaxis)):
            names = one.drop_duplicates(f"index_{side}").sort_values(f"index_{side}")[f"layer_{side}"].tolist()
            axis.set_ticks([names.index(name) for name in SHOWN[first[:6]]], SHOWN[first[:6]])
        line[0].set_ylabel(first, fontsize=7)
        line[1].set_xlabel(second, fontsize=7)
    for axes, title in zip(grid[0], KINDS.values(), strict=True):
        axes.set_title(title, fontsize=7)
    figure.colorbar(image, ax=grid, location="bottom", shrink=0.6, aspect=30, label="similarity")
    return {"figure": figure}


def page(folder: Path) -> str:
    """Of each pair and kind: the mean over layers at the same place, over all others, and of the chance level."""
    table, lines = pd.read_csv(folder / "similarity.csv"), []
    for pair in AXES:
        one = table[table.pair == pair]
        same, others = one[one.index_a == one.index_b], one[one.index_a != one.index_b]
        for kind, title in KINDS.items():
            wide = one.pivot(index="index_a", columns="index_b", values=kind)
            near = ((wide.idxmax(axis=1) - wide.index).abs() <= 1).mean()
            chance = same[f"{kind}_chance"].mean()
            lines.append([pair, title, same[kind].mean(), others[kind].mean(), f"{near:.0%}", chance])
    head = ["pair", "similarity", "same layer", "other layers", "best layer is the same or next to it", "chance"]
    return f"![Layers of one network against those of another](figure.png)\n\n{markdown(head, lines)}"
