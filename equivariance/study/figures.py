"""Figures of experiments: a panel for each group of rows, rank correlations by part, accuracy against scores."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.files import atomic_file
from equivariance.names import NESTED
from equivariance.study.rank_correlation import rank_correlation
from equivariance.study.tables import named

OTHERS = "others"
Split = tuple[str, Mapping[Any, str] | Sequence[str]]  # a column, and its values that get a panel, with names


def measured(folder: Path) -> pd.DataFrame:
    """The rows of an experiment over the first of `names.OVER` that there are rows of."""
    return rows.of_first_over(rows.read(folder / "results.csv"))


def facets(
    table: pd.DataFrame,
    draw: Callable[[style.Axes, pd.DataFrame], object],
    lines: Split,
    columns: Split | None = None,
    each: float = 1.5,
    more: float = 0.5,
    **options,
) -> tuple[style.Figure, np.ndarray]:
    """A panel for each value of one column of a table, downwards, and of another one to the right.

    Values of which there are no rows get no panel. The names of lines stand beside them, or above where there is
    a single column.

    Args:
        table: what is drawn.
        draw: is called with the axes and the rows of each panel.
        lines: the values downwards.
        columns: those to the right.
        each: height of a panel in inches.
        more: room for titles and the legend.
        options: of `matplotlib.pyplot.subplots`, such as sharey.
    """
    down, right = (
        [value for value in named(split[1]) if (table[split[0]] == value).any()] if split else [None]
        for split in (lines, columns)
    )
    figure, grid = style.panels(len(down), len(right), each, more, **options)
    for value, row in zip(down, grid, strict=True):
        of_line, name = table[table[lines[0]] == value], named(lines[1])[value]
        for other, axes in zip(right, row, strict=True):
            draw(axes, of_line[of_line[columns[0]] == other] if columns else of_line)
            if columns and value == down[0]:
                axes.set_title(named(columns[1])[other], fontsize=7)
        if columns:
            row[0].set_ylabel(name)
        else:
            row[0].set_title(name, loc="left", fontsize=7)
    return figure, grid


def legend(figure: style.Figure, *references: str, **options) -> None:
    """One legend below all panels: each label once, then these keys of `style.REFERENCES`."""
    entries = [pair for axes in figure.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    handles: dict[str, Any] = {str(label): handle for handle, label in entries}
    for name in references:
        handles[name] = style.plt.Line2D([], [], **style.REFERENCES[name] | {"color": style.GREY, "marker": ""})
    look: dict[str, Any] = {"loc": "outside lower center", "ncols": 2} | options
    figure.legend(list(handles.values()), list(handles), **look)


@style.styled
def plot_rank_correlation(found: pd.DataFrame, places: Sequence[str], label: str, title: str = "") -> style.Figure:
    """Draw rank correlations of parts of networks with something else, a panel for each transformation.

    Args:
        found: from `rank_correlation`, such as `with_accuracy`; a score of one part alone is grey.
        places: the parts, from left to right.
        label: of what is correlated.
        title: of the figure.
    """
    looks = style.looks(score for score in NESTED if score in set(found.score))

    def draw(axes: style.Axes, one: pd.DataFrame) -> None:
        for score, of_score in one.groupby("score", sort=False):
            look = looks.get(score, {"color": style.GREY, "marker": "x"})
            aside = 0.22 * (list(looks).index(score) - (len(looks) - 1) / 2) if score in looks else 0
            x = of_score.part.map(places.index) + aside
            error = [(of_score.rho - of_score.low).clip(lower=0), (of_score.high - of_score.rho).clip(lower=0)]
            name = score if score in looks else None
            axes.errorbar(x, of_score.rho, error, ls="", elinewidth=1, label=name, **look)
        axes.axhline(0, color=style.GREY, lw=0.8, zorder=0)
        axes.set_xticks(range(len(places)), places, fontsize=7)
        axes.set_ylim(-1.08, 1.08)
        axes.set_ylabel(label)

    networks = found.groupby("transform", sort=False).networks.max()
    names = {transform: f"{transform}, {count} networks" for transform, count in networks.items()}
    figure, _ = facets(found, draw, ("transform", names), each=1.8, more=0.6)
    legend(figure, ncols=3)
    figure.suptitle(title, fontsize=7.5)
    return figure


@style.styled
def plot_accuracy(
    points: pd.DataFrame, scores: Mapping[str, str], colour_by: str = "model", title: str = ""
) -> style.Figure:
    """Draw a panel for each score and transformation, with Spearman's rho and n where there is a rho.

    The most frequent groups of networks have a colour and a marker each; where there are more groups than colours,
    the smaller ones are grey.

    Args:
        points: rows of model, transform, accuracy in [0, 1], the columns of `scores`, and `colour_by`.
        scores: columns of scores and their names.
        colour_by: the column whose values are the groups.
        title: of the figure.
    """
    transforms = list(dict.fromkeys(points["transform"]))
    sizes = points.drop_duplicates("model")[colour_by].value_counts()
    groups = list(sizes.index) if len(sizes) <= len(style.COLOURS) else list(sizes.index[: len(style.COLOURS) - 1])
    looks = style.looks(groups) | {OTHERS: {"color": "0.55", "marker": "."}}
    points = points.assign(group=points[colour_by].where(points[colour_by].isin(groups), OTHERS))
    more = 0.5 + 0.13 * -(-len(looks) // 2)
    figure, grid = style.panels(len(transforms), len(scores), 1.75, more, sharey=True)
    for line, transform in zip(grid, transforms, strict=True):
        one = points[points["transform"] == transform]
        for axes, (column, label) in zip(line, scores.items(), strict=True):
            for name, look in looks.items():
                of_group = one[one.group == name]
                if len(of_group):
                    x, y = of_group[column], 100 * of_group.accuracy
                    family = f"{name} ({sizes[name]})" if name in sizes else name
                    axes.plot(x, y, ls="", alpha=0.8, mew=0, label=family, **look)
            found = str(rank_correlation(one[column], one.accuracy)).replace(", p", "\np")
            axes.set_title(f"{transform}\n{found}", fontsize=6.5)
            axes.set_xlabel(label, fontsize=7)
            axes.xaxis.set_major_locator(style.plt.MaxNLocator(2, min_n_ticks=2))
            axes.margins(0.1)
        line[0].set_ylabel("top-1 accuracy (%)")
    legend(figure, fontsize=6)
    figure.suptitle(title, fontsize=7.5)
    return figure


@style.styled
def save(figure: style.Figure, path: Path, formats: tuple[str, ...] = ("png",)) -> None:
    """Write the figure beside `path` with each ending, whole or not at all, without dates."""
    for ending in formats:
        metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[ending]
        with atomic_file(path.with_suffix(f".{ending}")) as file:
            figure.savefig(file, format=ending, metadata=metadata)
    style.plt.close(figure)
