"""Which part of a network has a score that goes with what a user feels: predicted classes that stay?

Agreement is the share of images whose predicted class stays under a transformation, mean over its elements (the
shift consistency of Zhang, "Making Convolutional Networks Shift-Invariant Again", 2019).
"""

from dataclasses import asdict

import pandas as pd

from equivariance.figures.rank_correlation import FEWEST, rank_correlation
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
        left_out = pd.Series(
            [rest.value.corr(rest.agreement, method="spearman", min_periods=FEWEST) for rest in others], dtype=float
        )
        if left_out.count() < 2:  # one number is no range
            left_out[:] = float("nan")
        found.append(
            dict(zip(["transform", "score", "part"], key, strict=True))
            | asdict(rank_correlation(one.value, one.agreement))
            | {"lowest": left_out.min(), "highest": left_out.max()}
        )
    return pd.DataFrame(found, columns=COLUMNS)
