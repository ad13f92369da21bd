"""Partner channels: orbits of single ones as pictures, and the correlations of all of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from equivariance.figures.style import SLANTED, Figure, named_layers, panels, styled

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
    figure, grid = panels(each, across, 0.62 * 5.2 / (across + 1), 0.35)
    for axes in grid.flat:
        axes.axis("off")
    for line in range(lines):
        places = range(line * across, min((line + 1) * across, len(elements)))
        block = list(grid[line * (each // lines) : (line + 1) * (each // lines)])
        if images is not None:
            row = block.pop(0)
            for axes, place in zip(row, places, strict=False):
                axes.imshow(images[place], cmap="Greys_r", vmin=0, vmax=1)
                axes.set_title("x" if elements[place] == "x" else f"g = {elements[place]}", fontsize=6, pad=2)
        for orbit, upper, lower in zip(found, block[::2], block[1::2], strict=True):
            scale = np.concatenate([np.ravel(each) for each in (*orbit.copies, *orbit.aligned)])
            limits = {"vmin": np.nanmin(scale), "vmax": np.nanmax(scale)}
            for column, place in enumerate(places):
                upper[column].imshow(orbit.copies[place], cmap="viridis", **limits)
                lower[column].imshow(orbit.aligned[place], cmap="viridis", **limits)
                if elements[place] != "x":
                    partner = f"channel {orbit.partners[place]}\nr = {orbit.r[place]:.2f}"
                    lower[column].set_title(partner, fontsize=5, pad=1.5)
            names = f"{orbit.layer}\nchannel {orbit.channel}", "partner on x"
            for axes, name in zip((upper[0], lower[0]), names, strict=True):
                axes.text(-0.12, 0.5, name, ha="right", va="center", transform=axes.transAxes, fontsize=5.5)
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
    figure, grid = panels(2, each=2.1, more=0, sharex=True)
    for axes, column, name in zip(grid[:, 0], ("own", "r"), ("same channel", "partner"), strict=True):
        of_layers = each[column].groupby(level="index")
        picture = np.stack([np.quantile(one, np.linspace(1, 0, 100)) for _, one in of_layers], axis=1)
        image = axes.imshow(picture, vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="nearest")
        axes.set_ylabel(f"{name}:\nlive channels, sorted")
        axes.set_yticks([0, 99], ["highest", "lowest"], rotation=90)
        axes.grid(False)
    axes.set_xticks(*named_layers(layers), **SLANTED)
    figure.colorbar(image, ax=grid, label="mean correlation", shrink=0.6)
    figure.suptitle(title)
    return figure
