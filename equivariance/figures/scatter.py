"""Accuracy against equivariance, one dot a network."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from equivariance.figures import style
from equivariance.figures.rank_correlation import rank_correlation


@style.styled
def plot_accuracy(
    points: pd.DataFrame,
    scores: Mapping[str, str],
    colour_by: str | None = None,
    others: str = "others",
    title: str = "",
) -> style.Figure:
    """Draw a panel for each score and transformation, with Spearman's rho and n where there is a rho.

    The dots have the numbers of their networks, named below, or the colours of the most frequent groups.

    Args:
        points: rows of model, transform, accuracy in [0, 1], the columns of `scores`, and `colour_by`.
        scores: columns of scores and their names.
        colour_by: the column whose values are coloured; None: number the networks, the most accurate first.
        others: what the legend calls the groups without a colour of their own.
        title: of the figure.
    """
    transforms = list(dict.fromkeys(points["transform"]))
    ordered = points.sort_values(["accuracy", "model"], ascending=[False, True]).model.unique()
    numbers = {model: place for place, model in enumerate(ordered, 1)}
    sizes = points.drop_duplicates("model")[colour_by or "model"].value_counts()
    groups = [name for name in sizes.index if sizes[name] > 1][: len(style.COLOURS) - 1]
    lines = -(-(len(numbers) if colour_by is None else len(groups) + 1) // 2)
    figure, grid = style.plt.subplots(
        len(transforms),
        len(scores),
        figsize=(style.COLUMN, 1.85 * len(transforms) + 0.4 + 0.13 * lines),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for line, transform in zip(grid, transforms, strict=True):
        one = points[points["transform"] == transform]
        for axes, (column, label) in zip(line, scores.items(), strict=True):
            if colour_by is None:
                _numbered(axes, one, column, numbers)
            else:
                _coloured(axes, one, column, colour_by, groups, others)
            found = str(rank_correlation(one[column], one.accuracy)).replace(", p", "\np")
            axes.set_title(f"{transform}\n{found}", fontsize=6.5)
            axes.set_xlabel(label, fontsize=7)
            axes.xaxis.set_major_locator(style.plt.MaxNLocator(2, min_n_ticks=2))
            axes.margins(0.1)
        line[0].set_ylabel("top-1 accuracy (%)")
    entries = [pair for axes in grid.flat for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles: dict[str, Any] = {label: handle for handle, label in entries}
    room: dict[str, Any] = {}
    if colour_by is None:
        handles = {f"{place} {model}": style.plt.Line2D([], [], ls="none") for model, place in numbers.items()}
        room = {"handlelength": 0, "handletextpad": 0}
    figure.legend([*handles.values()], [*handles], ncols=2, loc="outside lower center", fontsize=6, **room)
    figure.suptitle(title, fontsize=7.5)
    return figure


def _coloured(
    axes: style.Axes, one: pd.DataFrame, column: str, colour_by: str, groups: Sequence[str], others: str
) -> None:
    """Dots in the colours of their groups, grey ones for networks of no group."""
    for name, colour in zip([*groups, others], [*style.COLOURS[: len(groups)], "0.55"], strict=True):
        of_group = one[one[colour_by] == name] if name in groups else one[~one[colour_by].isin(groups)]
        if len(of_group):
            axes.plot(of_group[column], 100 * of_group.accuracy, "o", color=colour, alpha=0.8, mew=0, label=name)


def _numbered(axes: style.Axes, one: pd.DataFrame, column: str, numbers: Mapping[str, int]) -> None:
    """Dots with the numbers of their networks."""
    axes.plot(one[column], 100 * one.accuracy, "o", color=style.COLOURS[0], mew=0, ms=3)
    for model, x, accuracy in zip(one.model, one[column], one.accuracy, strict=True):
        place = (x, 100 * accuracy)
        axes.annotate(str(numbers[model]), place, (2.5, 1.5), textcoords="offset points", fontsize=6)
