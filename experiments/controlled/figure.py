"""Redraw thesis Fig. 6 / paper Fig. 3 from results.csv: networks made by hand, by depth; and their filters."""

from pathlib import Path

import numpy as np

from equivariance import rows
from equivariance.figures import style
from equivariance.names import SCORES

HERE = Path(__file__).resolve().parent
NAMES = {"whole": "isotropic filters", "cut": "one corner cut"}


def gaussian(deviation: float) -> np.ndarray:
    """exp(-d^2 / 2 s^2) on 5x5 pixels, sum 1: as `models.gaussian.gaussian`."""
    x = np.arange(5) - 2.0
    weight = np.exp(-(x[:, None] ** 2 + x**2) / (2 * deviation**2))
    return weight / weight.sum()


def filters(corner: str) -> list[np.ndarray]:
    """Of the network with this `model.corner`."""
    if corner == "whole":
        return [gaussian(deviation) for deviation in (0.5, 1, 2, 4)]
    cut = gaussian(2.0)
    cut[:2, :2] = 0
    return [np.rot90(cut, turn) for turn in range(4)]


@style.styled
def main(folder: Path = HERE) -> None:
    scores = rows.by_layer(rows.of_first_over(rows.read(folder / "results.csv")))
    figure = style.plt.figure(figsize=(style.COLUMN, 3.1), layout="constrained")
    grid = figure.add_gridspec(3, 2, height_ratios=(1.1, 4, 0.7))
    for side, (corner, name) in enumerate(NAMES.items()):
        row = grid[0, side].subgridspec(1, 4)
        for place, weight in enumerate(filters(corner)):
            axes = figure.add_subplot(row[place])
            axes.imshow(weight, cmap="Greys", vmin=0)
            axes.axis("off")
        above, below = (figure.add_subplot(grid[line, side]) for line in (1, 2))
        one = scores[scores.model == f"gaussian-{corner}"]
        above.set_title(name)
        for score, colour, marker in zip(SCORES, style.COLOURS, style.MARKERS, strict=False):
            curve = one[one.score == score]
            size = 6 if score == "invariance" else 3  # where both are 1, both are seen
            above.plot(curve["index"], curve.value, color=colour, marker=marker, ms=size, label=score)
        style.depth_axis(below, list(curve.layer))
        above.set_xticks(below.get_xticks(), [])
        above.set_xlim(-0.3, len(curve) - 0.7)
        below.set_xlim(above.get_xlim())
        above.set_ylim(0.972, 1.002)
        below.set_ylim(0, 0.006)
        below.set_yticks([0])
        broken(above, below)
        if not side:
            above.set_ylabel("mean correlation")
            above.legend(loc="lower left")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # whose solver may end in either of two places, a hair apart
    for axes in figure.axes:
        axes.set_position([round(value, 3) for value in axes.get_position().bounds])
    style.save(figure, folder / "figure", ("png", "svg"))
    print(f"drew figure in {folder}")


def broken(above: style.Axes, below: style.Axes) -> None:
    """Mark that the axis jumps from the lower panel to the upper one."""
    above.spines["bottom"].set_visible(False)
    above.tick_params(axis="x", length=0)
    mark = {"marker": [(-1, -0.6), (1, 0.6)], "ms": 7, "ls": "none", "color": "k", "mew": 1, "clip_on": False}
    above.plot([0], [0], transform=above.transAxes, **mark)
    below.plot([0], [1], transform=below.transAxes, **mark)


if __name__ == "__main__":
    main()
