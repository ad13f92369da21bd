"""One look for all figures, colour-blind safe and readable in one column of a paper; drawn from rows and arrays."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from equivariance.errors import UserError
from equivariance.files import write_atomic
from equivariance.names import NESTED
from equivariance.rows import by_layer, is_trained, of_one_reading

if TYPE_CHECKING:
    from equivariance.metric.partners import Orbit

COLUMN = 8.5 / 2.54  # inches, the width of one column of a paper
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito 2008
MARKERS = "osD^vPX"
GREY = "0.4"  # of what a score is compared with: the untrained network, chance
SPREAD = 0.18  # opacity of a band
SLANTED: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}  # names of layers
KINDS = ("matching", "linear", "cka")  # of the similarity of two networks
STYLE: dict[Any, Any] = {
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
    "axes.titlesize": 8,
    "figure.titlesize": 8,
    "svg.hashsalt": "equivariance",  # same input, same bytes
    "savefig.dpi": 300,
}
plt.rcParams.update(STYLE)


def depth_axis(axes: Axes, layers: Sequence[str]) -> None:
    """Layers along x in the order of the network, scores along y."""
    axes.set_xticks(*_named(layers), **SLANTED)
    axes.set_ylim(-0.02, 1.02)


def _named(layers: Sequence[str]) -> tuple[list[int], list[str]]:
    """Places and names of layers along an axis: every n-th where there are many, and those behind pooling."""
    step = max(1, -(-len(layers) // 12))
    places = [place for place, name in enumerate(layers) if place % step == 0 or name in ("pool", "final")]
    return places, [layers[place] for place in places]


def plot_depth(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Draw the scores of one network by depth: mean over elements; the band is the 95 % interval over images.

    Dotted: the chance levels. Dashed: the untrained network, where the table holds rows of it (`trained` false, or
    epoch 0). Of a network that was measured after several epochs, the last one; of several readings, the first.

    Args:
        table: rows of one network and transformation, see `runs.rows.COLUMNS`.
        axes: to draw into; new ones of a column's width by default.

    Returns:
        The axes.

    Raises:
        UserError: the table is empty, or holds several networks or transformations.
    """
    table = of_one_reading(table)
    trained = is_trained(table)
    shown = table[trained] if trained.any() else table
    shown = shown[shown.epoch.isna() | (shown.epoch == shown.epoch.max())]
    if shown.empty:
        raise UserError("no rows to draw")
    for column in ("dataset", "model", "aug", "width", "seed", "transform", "similarity"):
        if len(values := shown[column].unique()) > 1:
            several = ", ".join(map(str, values[:4]))
            raise UserError(f"rows of several values of {column} ({several}): choose one, or draw a comparison")
    if axes is None:
        _, axes = plt.subplots(figsize=(COLUMN, 2.6), layout="constrained")
    scores, reference = by_layer(shown), by_layer(table[~trained]) if trained.any() else None
    for score, colour, marker in zip(NESTED, COLOURS, MARKERS, strict=False):
        one = scores[scores.measure == score]
        if one.empty:
            continue
        axes.fill_between(one["index"], one.low, one.high, color=colour, alpha=SPREAD, lw=0)
        axes.plot(one["index"], one.value, color=colour, marker=marker, label=score)
        axes.plot(one["index"], one.chance, color=colour, ls=":", lw=1)
        if reference is not None and len(reference):
            twin = reference[reference.measure == score]
            axes.plot(twin["index"], twin.value, color=colour, ls="--", lw=1)
    axes.plot([], [], color=GREY, ls=":", lw=1, label="chance")
    if reference is not None and len(reference):
        axes.plot([], [], color=GREY, ls="--", lw=1, label="untrained")
    depth_axis(axes, list(scores.layer.drop_duplicates()))
    axes.set_ylabel(f"mean {'cosine' if shown.similarity.iloc[0] == 'cosine' else 'correlation'}")
    axes.legend(ncols=2)
    return axes


def depth(rows: pd.DataFrame, title: str) -> Figure:
    """The figure of `plot_depth` under a title."""
    axes = plot_depth(rows)
    axes.set_title(title)
    figure = axes.figure
    assert isinstance(figure, Figure)
    return figure


def orbits(found: Sequence["Orbit"], elements: Sequence, title: str, images: np.ndarray | None = None) -> Figure:
    """Draw orbits of channels: the images, then two rows an orbit, wrapped after six elements; one grey scale each.

    Args:
        found: from `scores.channel_matching.orbits`.
        elements: of the transformation, in the order of the orbits' maps; "x" is the image itself.
        title: such as the transformation's name.
        images: (elements, h, w) or (elements, h, w, 3) in [0, 1], the transformed images.
    """
    across = min(len(elements), 6)
    lines = -(-len(elements) // across)
    each = lines * (2 * len(found) + (images is not None))
    figure, grid = plt.subplots(
        each, across, figsize=(COLUMN, 0.35 + 0.62 * each * 5.2 / (across + 1)), layout="constrained", squeeze=False
    )
    for axes in grid.flat:
        axes.axis("off")
    for line in range(lines):
        places = range(line * across, min((line + 1) * across, len(elements)))
        block = list(grid[line * (each // lines) : (line + 1) * (each // lines)])
        if images is not None:
            row = block.pop(0)
            for axes, place in zip(row, places, strict=False):
                axes.imshow(images[place], cmap="Greys_r", vmin=0, vmax=1)
                name = "x" if elements[place] == "x" else f"g = {elements[place]}"
                axes.set_title(name, fontsize=6, pad=2)
        for orbit, upper, lower in zip(found, block[::2], block[1::2], strict=True):
            scale = np.concatenate([np.ravel(each) for each in (*orbit.copies, *orbit.aligned)])
            limits = {"vmin": np.nanmin(scale), "vmax": np.nanmax(scale)}
            for column, place in enumerate(places):
                upper[column].imshow(orbit.copies[place], cmap="Greys", **limits)
                lower[column].imshow(orbit.aligned[place], cmap="Greys", **limits)
                itself = elements[place] == "x"
                label = "" if itself else f"channel {orbit.partners[place]}\nr = {orbit.r[place]:.2f}"
                lower[column].set_title(label, fontsize=5, pad=1.5)
            name = f"{orbit.layer}\nchannel {orbit.channel}"
            upper[0].text(-0.12, 0.5, name, ha="right", va="center", transform=upper[0].transAxes, fontsize=5.5)
            lower[0].text(
                -0.12, 0.5, "partner on x", ha="right", va="center", transform=lower[0].transAxes, fontsize=5.5
            )
    figure.suptitle(title)
    return figure


def channels(table: pd.DataFrame, title: str) -> Figure:
    """Heat maps of channels by layers: is a score the mean of a few high correlations, or of many middling ones?

    Each column is a layer, its live channels sorted by their mean correlation over the elements: above with the
    same channel (whose mean is the invariance), below with the partner (the equivariance).

    Args:
        table: from `scores.channel_matching.partners`.
        title: of the figure.
    """
    layers = table.drop_duplicates("index").sort_values("index").layer.tolist()
    each = table.groupby(["index", "channel"])[["own", "r"]].mean().clip(lower=0)
    figure, panels = plt.subplots(2, 1, figsize=(COLUMN, 4.2), sharex=True, layout="constrained")
    for axes, column, name in zip(panels, ("own", "r"), ("same channel", "partner"), strict=True):
        picture = np.stack(
            [np.quantile(one, np.linspace(1, 0, 100)) for _, one in each[column].groupby(level="index")], axis=1
        )
        image = axes.imshow(picture, vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="nearest")
        axes.set_ylabel(f"{name}:\nlive channels, sorted")
        axes.set_yticks([0, 99], ["highest", "lowest"], rotation=90)
        axes.grid(False)
    axes.set_xticks(*_named(layers), **SLANTED)
    figure.colorbar(image, ax=panels, label="mean correlation", shrink=0.6)
    figure.suptitle(title)
    return figure


def plot_similarity(table: pd.DataFrame, kind: str = "matching", axes: Axes | None = None) -> Axes:
    """Draw how alike every layer of one network (upwards) is to every layer of another one (to the right).

    Args:
        table: from `equivariance.similarity`.
        kind: matching, linear or cka.
        axes: to draw into; new ones of a column's width by default.

    Raises:
        UserError: the table has no such kind.
    """
    if kind not in KINDS or kind not in table:
        raise UserError(f"kind={kind}: choose {', '.join(KINDS)} of a table of equivariance.similarity")
    if axes is None:
        _, axes = plt.subplots(figsize=(COLUMN, COLUMN * 0.85), layout="constrained")
    image = heat_map(axes, table, kind)
    for side, axis in (("a", axes.yaxis), ("b", axes.xaxis)):
        layers = table.drop_duplicates(f"index_{side}").sort_values(f"index_{side}")[f"layer_{side}"]
        axis.set_ticks(*_named(layers.tolist()))
    axes.tick_params("x", rotation=90)
    axes.set(ylabel="layer of the first network", xlabel="layer of the second network")
    axes.figure.colorbar(image, ax=axes, label=kind)
    return axes


def heat_map(axes: Axes, table: pd.DataFrame, kind: str) -> AxesImage:
    """Layers of the first network upwards, of the second one to the right, similarities from 0 to 1 as colours."""
    axes.grid(False)
    wide = table.pivot(index="index_a", columns="index_b", values=kind)
    return axes.imshow(wide, origin="lower", vmin=0, vmax=1, cmap="viridis", aspect="auto")


def save(figure: Figure, path: Path, formats: tuple[str, ...] = ("png",)) -> None:
    """Write the figure beside `path` with each ending, whole or not at all, without dates."""
    for ending in formats:
        buffer = io.BytesIO()
        metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[ending]
        figure.savefig(buffer, format=ending, metadata=metadata)
        write_atomic(path.with_suffix(f".{ending}"), buffer.getvalue())
    plt.close(figure)
