"""Does one quantity rise with another over networks? Spearman's rank correlation, for few of them and for many."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.stats import permutation_test, rankdata

from equivariance.rows import by_part

EXACT = 50_000  # pairings: all of them for up to 8 networks (8! = 40,320), as many random ones for more
RESAMPLES = 9_999
FEWEST = 3  # networks for a correlation: of two it is 1 or -1, whatever they are
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
    a, b = a[known], b[known]
    rho = float(_rho(a, b)) if len(a) >= FEWEST else np.nan
    if np.isnan(rho):
        return RankCorrelation(rho, np.nan, np.nan, np.nan, len(a))
    generator = np.random.default_rng(seed)
    p = permutation_test(
        (a,), lambda a, axis: _rho(a, b), permutation_type="pairings", n_resamples=EXACT, rng=generator
    ).pvalue
    if min(len(np.unique(a)), len(np.unique(b))) < DISTINCT:
        return RankCorrelation(rho, float(p), np.nan, np.nan, len(a))
    chosen = generator.integers(len(a), size=(RESAMPLES, len(a)))
    resampled = _rho(a[chosen], b[chosen])
    low, high = (np.quantile(np.nan_to_num(resampled, nan=worst), q) for worst, q in ((-1, 0.025), (1, 0.975)))
    return RankCorrelation(rho, float(p), float(low), float(high), len(a))


def with_accuracy(rows: pd.DataFrame) -> pd.DataFrame:
    """The rank correlation of score and accuracy over networks, for each transformation, part and score.

    Networks without accuracy do not count.

    Returns:
        Columns transform, part, score, rho, p, low, high, networks.
    """
    keys = ["transform", "part", "score"]
    parts = by_part(rows[rows.accuracy.notna()])
    found = [
        dict(zip(keys, key, strict=True)) | asdict(rank_correlation(one.value, one.accuracy))
        for key, one in parts.groupby(keys, sort=False)
    ]
    return pd.DataFrame(found, columns=[*keys, "rho", "p", "low", "high", "networks"])


def _rho(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks along the last axis; NaN where one side is constant."""
    x, y = (ranks - ranks.mean(-1, keepdims=True) for ranks in (rankdata(x, axis=-1), rankdata(y, axis=-1)))
    with np.errstate(invalid="ignore"):
        return (x * y).sum(-1) / np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
