"""Equivariance against the number of images: plug-in, cross-fitted and their middle."""

from pathlib import Path

import pandas as pd

from equivariance.figures import style
from equivariance.study.figures import legend

ENDS = {"plug_in": "plug-in", "cross_fitted": "cross-fitted", "middle": "middle"}
PANELS = {  # network, layer: title
    ("ResNet-44", "blocks.20"): "ResNet-44, last block",
    ("ResNet-44", "pool"): "ResNet-44, pooled",
    ("eight equal partners", "features"): "made, 8 partners",
    ("independent", "features"): "made, independent",
}


def figures(folder: Path) -> dict[str, style.Figure]:
    """The means over choices of images, with one standard deviation, and the truth."""
    errors = pd.read_csv(folder / "errors.csv")
    errors = errors[(errors.over == "image") & (errors.channels == 64)].set_index(["network", "layer"]).sort_index()
    figure, grid = style.panels(2, 2, 1.5, 0.6, sharex=True)
    for axes, (panel, title) in zip(grid.flat, PANELS.items(), strict=True):
        case = errors.loc[panel].sort_values("images")
        axes.axhline(case.truth.iloc[0], color=style.GREY, ls="--", lw=1, label="truth")
        for (end, look), name in zip(style.looks(ENDS).items(), ENDS.values(), strict=True):
            mean, spread = case[end], case[f"{end}_sd"]
            style.curve(axes, case.images, mean, mean - spread, mean + spread, label=name, **look)
        axes.set_xscale("log")
        axes.set_xticks([40, 100, 400, 2000], ["40", "100", "400", "2000"], minor=False)
        axes.minorticks_off()
        axes.set_title(title)
    figure.supxlabel("images", fontsize=8)
    figure.supylabel("equivariance", fontsize=8)
    legend(figure, loc="outside upper center", ncols=4)
    return {"figure": figure}
