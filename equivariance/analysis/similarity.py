"""The similarity of the layers of two networks as a heat map."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from equivariance.analysis.plots import COLUMN
from equivariance.errors import UserError

KINDS = ("matching", "linear", "cka")


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
    wide = table.pivot(index="index_a", columns="index_b", values=kind)
    image = axes.imshow(wide, origin="lower", vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for side, axis in (("a", axes.yaxis), ("b", axes.xaxis)):
        names = table.drop_duplicates(f"index_{side}").sort_values(f"index_{side}")[f"layer_{side}"].tolist()
        step = max(1, -(-len(names) // 12))
        shown = [place for place in range(len(names)) if place % step == 0 or names[place] in ("pool", "final")]
        axis.set_ticks(shown, [names[place] for place in shown])
    axes.tick_params("x", rotation=90)
    axes.set(ylabel="layer of the first network", xlabel="layer of the second network")
    axes.grid(False)
    axes.figure.colorbar(image, ax=axes, label=kind)
    return axes
