"""Accuracy against equivariance, one dot a network."""

from collections.abc import Mapping

import pandas as pd

from equivariance.analysis import plots
from equivariance.analysis.correlation import rank_correlation

NAMED = 12  # networks at most that have their names beside their dots


def plot_accuracy(
    points: pd.DataFrame,
    scores: Mapping[str, str],
    colour_by: str = "model",
    others: str = "others",
    title: str = "",
) -> plots.Figure:
    """Draw a panel for each score and transformation, with Spearman's rho and n where there is a rho.

    Up to 12 networks have their names beside their dots; of more, the most frequent groups have colours.

    Args:
        points: rows of model, transform, accuracy in [0, 1], the columns of `scores`, and `colour_by`.
        scores: columns of scores and their names.
        colour_by: the column whose values are coloured.
        others: what the legend calls the groups without a colour of their own.
        title: of the figure.
    """
    transforms = list(dict.fromkeys(points["transform"]))
    by_name = points.model.nunique() <= NAMED
    sizes = points.drop_duplicates("model")[colour_by].value_counts()
    groups = [] if by_name else [name for name in sizes.index if sizes[name] > 1][: len(plots.COLOURS) - 1]
    figure, grid = plots.plt.subplots(
        len(transforms),
        len(scores),
        figsize=(plots.COLUMN, 1.9 * len(transforms) + (0.4 if by_name else 1.0)),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for line, transform in zip(grid, transforms, strict=True):
        one = points[points["transform"] == transform]
        for axes, (column, label) in zip(line, scores.items(), strict=True):
            if by_name:
                _named(axes, one, column)
            for name, colour in zip([*groups, others], [*plots.COLOURS[: len(groups)], "0.55"], strict=True):
                of_group = one[one[colour_by] == name] if name in groups else one[~one[colour_by].isin(groups)]
                if len(of_group) and not by_name:
                    style = {"color": colour, "alpha": 0.8, "mew": 0}
                    axes.plot(of_group[column], 100 * of_group.accuracy, "o", label=name, **style)
            found = str(rank_correlation(one[column], one.accuracy)).replace(", p", ",\np")
            axes.set_title(f"{transform}\n{found}", fontsize=6.5)
            axes.set_xlabel(label, fontsize=7)
            axes.xaxis.set_major_locator(plots.plt.MaxNLocator(2, min_n_ticks=2))
            axes.margins(x=0.12)
        line[0].set_ylabel("top-1 accuracy (%)")
    if not by_name:
        handles = {
            name: handle
            for axes in grid.flat
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, ncols=2, loc="outside lower center", fontsize=6)
    figure.suptitle(title)
    return figure


def _named(axes: plots.Axes, one: pd.DataFrame, column: str) -> None:
    """Dots with the names of their networks."""
    one = one.sort_values(["accuracy", "model"], ascending=False)
    axes.plot(one[column], 100 * one.accuracy, "o", color=plots.COLOURS[0], mew=0)
    middle = (one[column].min() + one[column].max()) / 2
    for row in one.itertuples():
        x, left = getattr(row, column), getattr(row, column) <= middle
        axes.annotate(
            row.model,
            (x, 100 * row.accuracy),
            xytext=(4 if left else -4, 0),
            textcoords="offset points",
            ha="left" if left else "right",
            va="center",
            fontsize=4.5,
        )
