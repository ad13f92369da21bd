"""Redraw equivariance against the number of images, plug-in, cross-fitted and their middle, from errors.csv."""

from pathlib import Path

import pandas as pd

from equivariance.figures import style

HERE = Path(__file__).resolve().parent
ENDS = {"plug_in": "plug-in", "cross_fitted": "cross-fitted", "middle": "middle"}
PANELS = {  # network, layer: title
    ("ResNet-44", "blocks.20"): "ResNet-44, last block",
    ("ResNet-44", "pool"): "ResNet-44, pooled",
    ("eight equal partners", "features"): "made, 8 partners",
    ("independent", "features"): "made, independent",
}


def draw(axes: style.Axes, case: pd.DataFrame) -> None:
    """The means over choices of images, with one standard deviation, and the truth."""
    axes.axhline(case.truth.iloc[0], color=style.GREY, ls="--", lw=1, label="truth")
    for (end, name), colour, marker in zip(ENDS.items(), style.COLOURS, style.MARKERS, strict=False):
        spread = case[f"{end}_sd"]
        axes.fill_between(
            case.images, case[end] - spread, case[end] + spread, color=colour, alpha=style.SPREAD, lw=0
        )
        axes.plot(case.images, case[end], color=colour, marker=marker, label=name)
    axes.set_xscale("log")
    axes.set_xticks([40, 100, 400, 2000], ["40", "100", "400", "2000"], minor=False)
    axes.minorticks_off()


@style.styled
def main(folder: Path = HERE) -> None:
    errors = pd.read_csv(folder / "errors.csv")
    figure, grid = style.plt.subplots(2, 2, figsize=(style.COLUMN, 3.6), sharex=True, layout="constrained")
    for axes, ((network, layer), title) in zip(grid.flat, PANELS.items(), strict=True):
        one = errors[(errors.network == network) & (errors.layer == layer) & (errors.over == "image")]
        draw(axes, one[one.channels == 64])
        axes.set_title(title)
    figure.supxlabel("images", fontsize=8)
    figure.supylabel("equivariance", fontsize=8)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    style.save(figure, folder / "figure", ("png", "svg"))
    print(f"drew figure in {folder}")


if __name__ == "__main__":
    main()
