"""How alike the layers of two networks are, as a heat map."""

import pandas as pd
from matplotlib.image import AxesImage

from equivariance.errors import UserError
from equivariance.figures.style import COLUMN, Axes, named_layers, plt, styled

KINDS = ("matching", "linear", "cka")  # of the similarity of two networks


@styled
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
    axes.set(ylabel="layer of the first network", xlabel="layer of the second network")
    axes.figure.colorbar(image, ax=axes, label=kind)
    return axes


def heat_map(axes: Axes, table: pd.DataFrame, kind: str) -> AxesImage:
    """Layers of the first network upwards, of the second one to the right, similarities from 0 to 1 as colours."""
    axes.grid(False)
    for side, axis in (("a", axes.yaxis), ("b", axes.xaxis)):
        layers = table.drop_duplicates(f"index_{side}").sort_values(f"index_{side}")[f"layer_{side}"]
        axis.set_ticks(*named_layers(layers.tolist()))
    axes.tick_params("x", rotation=90)
    wide = table.pivot(index="index_a", columns="index_b", values=kind)
    return axes.imshow(wide, origin="lower", vmin=0, vmax=1, cmap="viridis", aspect="auto")
