"""Which part of a network has a score that goes with what a user feels: predicted classes that stay?

Agreement is the share of images whose predicted class stays under a transformation, mean over its elements (the
shift consistency of Zhang, "Making Convolutional Networks Shift-Invariant Again", 2019).
"""

from dataclasses import asdict

import pandas as pd

from equivariance.figures import style
from equivariance.figures.rank_correlation import rank_correlation
from equivariance.names import NESTED, PARTS
from equivariance.rows import MEASUREMENT, by_part

ACCURACY = "accuracy"  # in place of a score and a part: the network's accuracy
COLUMNS = ["transform", "score", "part", "rho", "p", "low", "high", "networks", "lowest", "highest"]


def agreements(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores by part beside the agreement of the same measurement; measurements without one are left out.

    Returns:
        The rows of `rows.by_part` with a column `agreement` in [0, 1].
    """
    felt = rows[rows.agreement.notna()].drop_duplicates([*MEASUREMENT, "element"])
    felt = felt.groupby(MEASUREMENT, dropna=False, sort=False).agreement.mean().reset_index()
    return by_part(rows).merge(felt, on=MEASUREMENT)


def correlations(rows: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rho of score and agreement over networks, for each transformation, score and part.

    Networks of one author (the first word of their names) are no independent draws: `lowest` and `highest` are the
    range of rho when each author's networks are left out in turn, NaN where fewer than two of these rho exist.

    Returns:
        Columns transform, score, part, rho, p, low, high, networks (see `RankCorrelation`), lowest, highest; with
        score and part "accuracy" the correlation of accuracy and agreement.
    """
    table = agreements(rows)
    accuracies = table.drop_duplicates(MEASUREMENT)
    accuracies = accuracies.assign(score=ACCURACY, part=ACCURACY, value=accuracies.accuracy)
    found = []
    for key, one in pd.concat([table, accuracies]).groupby(["transform", "score", "part"], sort=False):
        author = one.model.str.split("_").str[0]
        others = [one[author != each] for each in author.unique()] if author.nunique() > 1 else []
        left_out = pd.Series([rank_correlation(rest.value, rest.agreement).rho for rest in others], dtype=float)
        if left_out.count() < 2:  # one number is no range
            left_out[:] = float("nan")
        found.append(
            dict(zip(["transform", "score", "part"], key, strict=True))
            | asdict(rank_correlation(one.value, one.agreement))
            | {"lowest": left_out.min(), "highest": left_out.max()}
        )
    return pd.DataFrame(found, columns=COLUMNS)


@style.styled
def plot_consistency(rows: pd.DataFrame, title: str = "") -> style.Figure:
    """Draw the rank correlation of score and agreement by part, a panel for each transformation.

    The bars are 95 % intervals over networks; a correlation of too few networks for one is left out. The last place
    is the accuracy's correlation.

    Args:
        rows: see `rows.COLUMNS`, over one thing, such as image.
        title: of the figure.
    """
    table = correlations(rows)
    transforms = list(dict.fromkeys(table["transform"]))
    size = (style.COLUMN, 1.9 * len(transforms) + 0.5)
    figure, panels = style.plt.subplots(len(transforms), 1, figsize=size, layout="constrained", squeeze=False)
    places = [*PARTS, ACCURACY]
    scores = [score for score in NESTED if score in set(table.score)]
    for axes, transform in zip(panels[:, 0], transforms, strict=True):
        one = table[table["transform"] == transform]
        for position, score in enumerate([*scores, ACCURACY]):
            of_score = one[one.score == score].dropna(subset="low")
            x = of_score.part.map(places.index).to_numpy(float)
            if score != ACCURACY:
                x = x + 0.22 * (position - (len(scores) - 1) / 2)
            error = [(of_score.rho - of_score.low).clip(lower=0), (of_score.high - of_score.rho).clip(lower=0)]
            look = (style.COLOURS[position], style.MARKERS[position]) if score != ACCURACY else (style.GREY, "x")
            label = None if score == ACCURACY else score
            axes.errorbar(x, of_score.rho, error, color=look[0], marker=look[1], ls="", elinewidth=1, label=label)
        axes.axhline(0, color=style.GREY, lw=0.8, zorder=0)
        axes.set_xticks(range(len(places)), places)
        axes.set_ylim(-1.05, 1.05)
        axes.set_ylabel("rank correlation\nwith agreement")
        axes.set_title(f"{transform}, {one.networks.max()} networks")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(title, fontsize=7.5)
    return figure
