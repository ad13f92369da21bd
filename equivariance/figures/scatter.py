"""Accuracy against equivariance, one dot a network."""

from collections.abc import Mapping

import pandas as pd

from equivariance.figures import style
from equivariance.figures.rank_correlation import rank_correlation

OTHERS = "others"


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
    style.legend(figure, fontsize=6)
    figure.suptitle(title, fontsize=7.5)
    return figure
