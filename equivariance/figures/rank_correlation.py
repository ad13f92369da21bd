"""Does one quantity rise with another over networks? Spearman's rank correlation, for few of them and for many."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.stats import permutation_test, rankdata

from equivariance.figures import style
from equivariance.names import NESTED
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
    rho = float(ranks_correlate(a, b)) if len(a) >= FEWEST else np.nan
    if np.isnan(rho):
        return RankCorrelation(rho, np.nan, np.nan, np.nan, len(a))
    generator = np.random.default_rng(seed)
    paired = {"permutation_type": "pairings", "n_resamples": EXACT, "rng": generator}
    p = permutation_test((a,), lambda a, axis: ranks_correlate(a, b), **paired).pvalue
    if min(len(np.unique(a)), len(np.unique(b))) < DISTINCT:
        return RankCorrelation(rho, float(p), np.nan, np.nan, len(a))
    chosen = generator.integers(len(a), size=(RESAMPLES, len(a)))
    resampled = ranks_correlate(a[chosen], b[chosen])
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


@style.styled
def plot_rank_correlation(found: pd.DataFrame, places: Sequence[str], label: str, title: str = "") -> style.Figure:
    """Draw rank correlations of parts of networks with something else, a panel for each transformation.

    Args:
        found: rows of transform, part, score, rho, low, high, networks; a score of one part alone is grey.
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
        axes.set_xticks(range(len(places)), places)
        axes.set_ylim(-1.08, 1.08)
        axes.set_ylabel(label)

    networks = found.groupby("transform", sort=False).networks.max()
    names = {transform: f"{transform}, {count} networks" for transform, count in networks.items()}
    figure, _ = style.facets(found, draw, ("transform", names), each=1.8, more=0.6)
    style.legend(figure, ncols=3)
    figure.suptitle(title, fontsize=7.5)
    return figure


def ranks_correlate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks along the last axis; NaN where one side is constant."""
    x, y = (ranks - ranks.mean(-1, keepdims=True) for ranks in (rankdata(x, axis=-1), rankdata(y, axis=-1)))
    with np.errstate(invalid="ignore"):
        return (x * y).sum(-1) / np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
