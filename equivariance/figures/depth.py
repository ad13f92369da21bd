"""The scores of one network by depth, beside their chance levels and those of its untrained twin."""

import pandas as pd

from equivariance.errors import UserError
from equivariance.figures.style import COLUMN, GREY, Axes, curve, depth_axis, looks, plt, styled
from equivariance.names import ELEMENTS, NESTED
from equivariance.rows import by_layer, completed, is_trained, of_first_over


@styled
def plot_depth(table: pd.DataFrame, axes: Axes | None = None, title: str = "") -> Axes:
    """Draw the scores of one network by depth: mean over elements; the band is the 95 % interval over images.

    Dotted: the chance levels. Dashed: the untrained network, where the table holds rows of it (`trained` false, or
    epoch 0). Of a network that was measured after several epochs, the last one; of several readings, the first.

    Args:
        table: rows of one network and transformation, see `rows.COLUMNS`.
        axes: to draw into; new ones of a column's width by default.
        title: above the axes.

    Returns:
        The axes.

    Raises:
        UserError: the table is empty, or holds several networks or transformations.
    """
    table = of_first_over(completed(table))
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
        _, axes = plt.subplots(figsize=(COLUMN, 2.8), layout="constrained")
    scores, reference = by_layer(shown), by_layer(table[~trained & trained.any()])
    for score, look in looks(NESTED).items():
        one = scores[scores.score == score]
        if one.empty:
            continue
        curve(axes, one["index"], one.value, one.low, one.high, label=score, **look)
        axes.plot(one["index"], one.chance, color=look["color"], ls=":", lw=1)
        twin = reference[reference.score == score]
        axes.plot(twin["index"], twin.value, color=look["color"], ls="--", lw=1)
    axes.plot([], [], color=GREY, ls=":", lw=1, label="chance")
    if len(reference):
        axes.plot([], [], color=GREY, ls="--", lw=1, label="untrained")
    depth_axis(axes, list(scores.layer.drop_duplicates()))
    axes.set_xlabel(_caption(shown), fontsize=6.5)
    axes.set_ylabel(f"mean {'cosine' if shown.similarity.iloc[0] == 'cosine' else 'correlation'}")
    axes.legend(ncols=2)
    axes.set_title(title)
    return axes


def _caption(shown: pd.DataFrame) -> str:
    """What marks and bands are."""
    transform, elements = shown["transform"].iloc[0], list(dict.fromkeys(shown.element))
    over = ", ".join(map(str, elements)) if len(elements) < 7 else f"{elements[0]} to {elements[-1]}"
    what = ELEMENTS.get(transform, "element")
    return f"marks: mean over {transform}, {what} {over}\nbands: 95 % intervals over {shown.images.max()} images"
