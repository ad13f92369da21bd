"""One look for all figures, colour-blind safe and readable in one column of a paper; layers on axes."""

from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMN = 8.5 / 2.54  # inches, the width of one column of a paper
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito 2008
MARKERS = "osD^vPX"
GREY = "0.4"  # of what a score is compared with: the untrained network, chance
SPREAD = 0.18  # opacity of a band
REFERENCES: dict[str, dict[str, Any]] = {
    "untrained": {"ls": "--", "lw": 1, "marker": "d", "mfc": "none", "ms": 4.5},
    "chance": {"ls": ":", "lw": 1, "marker": "_", "ms": 9},
}
SLANTED: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}  # names of layers
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
styled = matplotlib.rc_context(STYLE)  # decorates what draws or saves; Matplotlib's settings stay the caller's


def looks(names: Iterable[Any]) -> dict[Any, dict[str, Any]]:
    """A colour and a marker for each name; for more names than colours, hues in their order."""
    names = list(names)
    colours: Sequence[Any] = COLOURS
    if len(names) > len(COLOURS):
        colours = [plt.get_cmap("viridis")(place / len(names)) for place in range(len(names))]
    each = zip(names, colours, cycle(MARKERS), strict=False)
    return {name: {"color": colour, "marker": marker} for name, colour, marker in each}


def panels(
    lines: int, columns: int = 1, each: float = 1.5, more: float = 0.5, **options
) -> tuple[Figure, np.ndarray]:
    """A grid of panels as wide as a column, `each` inches high, and `more` inches for titles and the legend."""
    size = (COLUMN, each * lines + more)
    return plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False, **options)


def curve(axes: Axes, x: Any, mean: Any, low: Any = None, high: Any = None, **look) -> None:
    """A line, with a band from `low` to `high` where they are given."""
    axes.plot(x, mean, **look)
    if low is not None:
        axes.fill_between(x, low, high, color=look["color"], alpha=SPREAD, lw=0)


def named_layers(layers: Sequence[str]) -> tuple[list[int], list[str]]:
    """Places and names of layers along an axis: every n-th where there are many, and those behind pooling."""
    step = max(1, -(-len(layers) // 12))
    places = [place for place, name in enumerate(layers) if place % step == 0 or name in ("pool", "final")]
    return places, [layers[place] for place in places]


def depth_axis(axes: Axes, layers: Sequence[str]) -> None:
    """Layers along x in the order of the network, scores along y."""
    axes.set_xticks(*named_layers(layers), **SLANTED)
    axes.set_ylim(-0.02, 1.02)
