"""Partner channels: orbits of single ones as pictures, and the correlations of all of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from equivariance.figures.style import COLUMN, SLANTED, Figure, named_layers, plt, styled

if TYPE_CHECKING:
    from equivariance.metric.partners import Orbit


@styled
def orbits(found: Sequence["Orbit"], elements: Sequence, title: str, images: np.ndarray | None = None) -> Figure:
    """Draw orbits of channels: the images, then two rows an orbit, wrapped after six elements.

    The upper row of an orbit has the channel's map of every transformed image, transformed back; the lower one the
    partners' maps of the image itself. One scale of colours for each orbit, from its lowest value to its highest.

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
                upper[column].imshow(orbit.copies[place], cmap="viridis", **limits)
                lower[column].imshow(orbit.aligned[place], cmap="viridis", **limits)
                itself = elements[place] == "x"
                label = "" if itself else f"channel {orbit.partners[place]}\nr = {orbit.r[place]:.2f}"
                lower[column].set_title(label, fontsize=5, pad=1.5)
            name = f"{orbit.layer}\nchannel {orbit.channel}"
            upper[0].text(-0.12, 0.5, name, ha="right", va="center", transform=upper[0].transAxes, fontsize=5.5)
            lower[0].text(
                -0.12, 0.5, "partner on x", ha="right", va="center", transform=lower[0].transAxes, fontsize=5.5
            )
    figure.suptitle(f"{title}: each orbit from its lowest value (dark) to its highest", fontsize=7)
    return figure


@styled
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
    axes.set_xticks(*named_layers(layers), **SLANTED)
    figure.colorbar(image, ax=panels, label="mean correlation", shrink=0.6)
    figure.suptitle(title)
    return figure
