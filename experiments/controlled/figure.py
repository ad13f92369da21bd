"""Redraw thesis Fig. 6 / paper Fig. 3 from results.csv: networks made by hand, by depth; and their filters."""

from pathlib import Path

from equivariance.analysis import plots
from equivariance.models import GaussianCNN
from equivariance.runs import rows

HERE = Path(__file__).resolve().parent
NAMES = {"whole": "isotropic filters", "cut": "one corner cut, 4 turns"}


def main() -> None:
    scores = rows.by_layer(rows.read(HERE / "results.csv"))
    figure = plots.plt.figure(figsize=(plots.COLUMN, 2.6), layout="constrained")
    for half, (corner, name) in zip(figure.subfigures(1, 2), NAMES.items(), strict=True):
        half.suptitle(name, fontsize=8)
        grid = half.add_gridspec(2, 4, height_ratios=(1, 4))
        filters = GaussianCNN(1, 1, corner).blocks[0][0].weight[:, 0].detach()
        for index, weight in enumerate(filters):
            axes = half.add_subplot(grid[0, index])
            axes.imshow(weight, cmap="Greys", vmin=0)
            axes.axis("off")
        axes = half.add_subplot(grid[1, :])
        one = scores[scores.model == f"gaussian-{corner}"]
        styles = zip(("invariance", "equivariance"), plots.COLOURS, plots.MARKERS, strict=False)
        for measure, colour, marker in styles:
            curve = one[one.measure == measure]
            axes.plot(curve["index"], curve.value, color=colour, marker=marker, label=measure)
        plots.depth_axis(axes, list(curve.layer))
        axes.set_ylim(0.945, 1.003)
        if corner == "whole":
            axes.set_ylabel("mean correlation")
            axes.legend(loc="lower left")
    plots.save(figure, HERE / "figure", ("png", "svg"))
    print(f"drew {HERE / 'figure.png'} and .svg")


if __name__ == "__main__":
    main()
