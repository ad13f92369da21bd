"""One look for all figures: colour-blind safe, readable in one column of a paper."""

import io
from pathlib import Path

import matplotlib
import pandas as pd
import torch
from torch import Tensor

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from equivariance.runs.atomic import write_atomic
from equivariance.runs.rows import by_layer
from equivariance.scores.metric import Measurement

COLUMN = 3.5  # inches, the width of one column of a paper
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito 2008
MARKERS = "osD^vP"
STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "svg.hashsalt": "equivariance",  # same input, same bytes
    "savefig.dpi": 300,
}
plt.rcParams.update(STYLE)


def depth_axis(axes: Axes, layers: list[str], title: str = "") -> None:
    """Layers along x in the order of the network, scores in [0, 1] along y."""
    axes.set_xticks(range(len(layers)), layers, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(title)


def mean_and_spread(axes: Axes, scores: pd.DataFrame, column: str, **style) -> None:
    """Mean of a score by layer as a line, and plus-minus one standard deviation over networks as a band."""
    grouped = scores.groupby("index")[column]
    mean, deviation = grouped.mean(), grouped.std().fillna(0)
    axes.plot(mean.index, mean, **style)
    axes.fill_between(mean.index, mean - deviation, mean + deviation, color=style["color"], alpha=0.18, lw=0)


def depth(rows: pd.DataFrame, title: str) -> Figure:
    """Invariance and equivariance of one network by depth, with their chance levels."""
    scores = by_layer(rows)
    figure, axes = plt.subplots(figsize=(COLUMN, 2.6), layout="constrained")
    for measure, colour, marker in zip(("invariance", "equivariance"), COLOURS, MARKERS, strict=False):
        one = scores[scores.measure == measure]
        axes.plot(one["index"], one.value, color=colour, marker=marker, label=measure)
        axes.plot(one["index"], one.chance, color=colour, ls=":", lw=1, label="chance")
    depth_axis(axes, list(one.layer), title)
    axes.set_ylabel("mean correlation")
    axes.legend(ncols=2)
    return figure


def orbits(measurement: Measurement, found: list[pd.DataFrame], image: Tensor) -> Figure:
    """The strongest orbits: a channel on the transformed images, above its partners on the image itself, moved.

    Args:
        found: from `partners.strongest`.
        image: normalised, (1, c, h, w).
    """
    transforms = measurement.transforms
    maps = measurement.maps(torch.cat([image, *(g.act(image) for g in transforms)]))
    figure, grid = plt.subplots(
        2 * len(found), len(transforms), figsize=(COLUMN, 2.2 * len(found)), layout="constrained", squeeze=False
    )
    for panels, orbit in zip(zip(grid[::2], grid[1::2], strict=True), found, strict=True):
        layer, channel = orbit.layer.iloc[0], orbit.channel.iloc[0]
        for column, (g, row) in enumerate(zip(transforms, orbit.itertuples(), strict=True)):
            copy = maps[layer][column + 1 : column + 2]
            moved = g.act(maps[layer][:1]) if copy[0, 0].numel() > 1 else maps[layer][:1]
            shown = (
                (copy, channel, f"channel {channel} of g x"),
                (moved, row.partner, f"g channel {row.partner} of x, r = {row.r:.2f}"),
            )
            for axes, (x, c, label) in zip((panels[0][column], panels[1][column]), shown, strict=True):
                axes.imshow(x[0, c].reshape(x.shape[2:] or (1, 1)).cpu(), cmap="Greys")
                axes.set_title(label, fontsize=5)
                axes.axis("off")
        panels[0][0].text(-0.1, 0, layer, rotation=90, ha="right", transform=panels[0][0].transAxes, fontsize=6)
    figure.suptitle(f"{transforms[0].name}, g = {', '.join(str(g.element) for g in transforms)}", fontsize=7)
    return figure


def save(figure: Figure, path: Path, formats: tuple[str, ...] = ("png",)) -> None:
    """Write the figure beside `path` with each ending, whole or not at all, without dates."""
    for ending in formats:
        buffer = io.BytesIO()
        metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[ending]
        figure.savefig(buffer, format=ending, metadata=metadata)
        write_atomic(path.with_suffix(f".{ending}"), buffer.getvalue())
    plt.close(figure)
