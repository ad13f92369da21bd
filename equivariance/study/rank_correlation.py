"""Does one quantity rise with another over networks? Spearman's rank correlation, for few of them and for many.

Scores go together with the network's accuracy, or with what a user feels: agreement, the share of images whose
predicted class stays under a transformation, mean over its elements (the shift consistency of Zhang, "Making
Convolutional Networks Shift-Invariant Again", 2019).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from equivariance.rows import MEASUREMENT, by_part

EXACT = 50_000  # pairings: all of them for up to 8 networks (8! = 40,320), as many random ones for more
RESAMPLES = 9_999
FEWEST = 3  # networks for a correlation: of two it is 1 or -1, whatever they are
KEYS = ["transform", "part", "score"]
COLUMNS = [*KEYS, "rho", "p", "low", "high", "networks"]
ACCURACY = "accuracy"  # in place of a score and a part: the network's accuracy
DISTINCT = 5  # values that each quantity must have for an interval: of fewer, resampling says nothing


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho in [-1, 1], the two-sided p-value of no relation, and a 95 % bootstrap interval over networks.

    NaN where there are fewer than three networks, or one of the quantities is the same for all; the interval is NaN
    where one of them has fewer than five different values.
    """

    rho: float
    p: float
    low: float
    high: float
    networks: int

    def __str__(self) -> str:
        if np.isnan(self.rho):
            return f"rho not defined, n = {self.networks}"
        interval = "" if np.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"rho {self.rho:.2f}{interval}, p {self.p:.2g}, n = {self.networks}"


def rank_correlation(x: Sequence[float], y: Sequence[float], seed: int = 0) -> RankCorrelation:
    """Spearman's rho of two quantities of the same networks, those left out where either is NaN.

    The p-value is that of a permutation test over the pairings of x and y: exact for up to 8 networks. The interval
    is the percentile bootstrap's over networks; a resample in which either quantity is constant could have any
    rho, and counts as -1 for the lower bound and as 1 for the upper one.
    """
    a, b = (np.asarray(values, float) for values in (x, y))
    known = ~(np.isnan(a) | np.isnan(b))
    return _rank_correlation(tuple(a[known].tolist()), tuple(b[known].tolist()), seed)


@lru_cache(maxsize=1000)  # a figure and the table beside it ask for the same ones
def _rank_correlation(x: tuple[float, ...], y: tuple[float, ...], seed: int) -> RankCorrelation:
    from scipy.stats import permutation_test  # here and below, as importing it takes a second

    a, b = np.array(x), np.array(y)
    rho = float(ranks_correlate(a, b)) if len(a) >= FEWEST else np.nan
    if np.isnan(rho):
        return RankCorrelation(rho, np.nan, np.nan, np.nan, len(a))
    generator = np.random.default_rng(seed)
    paired = {"permutation_type": "pairings", "n_resamples": EXACT, "rng": generator}
    ranks, others = _centred_ranks(a), _centred_ranks(b)  # to pair otherwise changes no rank
    p = permutation_test((ranks,), lambda ranks, axis: _correlate(ranks, others), **paired).pvalue
    if min(len(np.unique(a)), len(np.unique(b))) < DISTINCT:
        return RankCorrelation(rho, float(p), np.nan, np.nan, len(a))
    chosen = generator.integers(len(a), size=(RESAMPLES, len(a)))
    return RankCorrelation(rho, float(p), *percentiles(ranks_correlate(a[chosen], b[chosen])), len(a))


def percentiles(resampled: np.ndarray, alpha: float = 0.05, most: float = 1) -> tuple[float, float]:
    """The ends of a bootstrap's interval at a level, of numbers in [-most, most].

    A resample in which a quantity is constant could have any rho: it counts as the worst for either end.
    """
    low, high = (np.nan_to_num(resampled, nan=worst) for worst in (-most, most))
    return float(np.quantile(low, alpha / 2)), float(np.quantile(high, 1 - alpha / 2))


def with_accuracy(rows: pd.DataFrame) -> pd.DataFrame:
    """The rank correlation of score and accuracy over networks, for each transformation, part and score.

    Networks without accuracy do not count.

    Returns:
        Columns transform, part, score, rho, p, low, high, networks, see `RankCorrelation`.
    """
    return correlated(by_part(rows[rows.accuracy.notna()]), "accuracy")


def correlated(parts: pd.DataFrame, other: str) -> pd.DataFrame:
    """The same of scores by part (transform, part, score, value) and another column of theirs."""
    return pd.DataFrame([found for _, found in _each(parts, other)], columns=COLUMNS)


def agreements(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores by part beside the agreement of the same measurement; measurements without one are left out.

    Returns:
        The rows of `rows.by_part` with a column `agreement` in [0, 1].
    """
    felt = rows[rows.agreement.notna()].drop_duplicates([*MEASUREMENT, "element"])
    felt = felt.groupby(MEASUREMENT, dropna=False, sort=False).agreement.mean().reset_index()
    return by_part(rows).merge(felt, on=MEASUREMENT)


def with_agreement(rows: pd.DataFrame) -> pd.DataFrame:
    """The rank correlation of score and agreement over networks, for each transformation, part and score.

    Networks of one author (the first word of their names) are no independent draws: `lowest` and `highest` are the
    range of rho when each author's networks are left out in turn, NaN where fewer than two of these rho exist.

    Returns:
        The columns of `with_accuracy`, lowest, highest; with score and part "accuracy" the correlation of accuracy
        and agreement.
    """
    table = agreements(rows)
    accuracies = table.drop_duplicates(MEASUREMENT)
    accuracies = accuracies.assign(score=ACCURACY, part=ACCURACY, value=accuracies.accuracy)
    found = []
    for one, correlation in _each(pd.concat([table, accuracies]), "agreement"):
        author = one.model.str.split("_").str[0]
        others = (one[author != each] for each in author.unique() if author.nunique() > 1)
        rho = [rest.value.corr(rest.agreement, method="spearman", min_periods=FEWEST) for rest in others]
        known = [each for each in rho if not np.isnan(each)]
        range_ = (min(known), max(known)) if len(known) > 1 else (np.nan, np.nan)  # one number is no range
        found.append(correlation | dict(zip(("lowest", "highest"), range_, strict=True)))
    return pd.DataFrame(found, columns=[*COLUMNS, "lowest", "highest"])


def _each(parts: pd.DataFrame, other: str) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """The rows of each transformation, part and score, and the correlation of their values with a column."""
    for key, one in parts.groupby(KEYS, sort=False):
        yield one, dict(zip(KEYS, key, strict=True)) | asdict(rank_correlation(one.value, one[other]))


def ranks_correlate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks along the last axis; NaN where one side is constant."""
    return _correlate(_centred_ranks(x), _centred_ranks(y))


def _centred_ranks(x: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    ranks = rankdata(x, axis=-1)
    return ranks - ranks.mean(-1, keepdims=True)


def _correlate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (x * y).sum(-1) / np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
