"""What decides M2 and M3: what the measure must give where the answer is known, so that there is no sample."""

import numpy as np
import pandas as pd

from equivariance.names import BEFORE_POOLING
from equivariance.study.verdicts.decide import Case, Range

DIGITS = 5e-6  # rows hold six digits


def exactly(name: str, value: float, low: float, high: float) -> Case:
    """A number that is known, without an interval."""
    return Case(name, float(value), 1, lambda alpha: (float(value), float(value)), Range(low, high))


def shifted_maps(results: pd.DataFrame) -> list[Case]:
    a, b = np.random.default_rng(0).normal(size=(2, 32 * 32))

    def cosine(x: np.ndarray, y: np.ndarray) -> float:
        return float(x @ y / np.sqrt(x @ x * (y @ y)))

    r, after = (np.corrcoef(a + added, b + added)[0, 1] for added in (0, 0.5))
    change = abs(cosine(a, b) - cosine(a + 0.5, b + 0.5))
    return [
        exactly("change of the correlation", abs(r - after), 0, 1e-12),
        exactly("change of the cosine", change, 0.05, 2),
    ]


def networks_made_by_hand(results: pd.DataFrame) -> list[Case]:
    blocks = results[results.part.isin(BEFORE_POOLING)]

    def values(table: pd.DataFrame, model: str, score: str) -> "pd.Series[float]":
        return table[(table.model == model) & (table.score == score)].value  # of none the extremes are NaN: not run

    whole, cut = values(results, "gaussian-whole", "invariance"), values(results, "gaussian-cut", "equivariance")
    broken = values(blocks, "gaussian-cut", "invariance").max()
    return [
        exactly("smallest invariance, isotropic filters", whole.min(), 1 - DIGITS, 1),
        exactly("smallest equivariance, cut corners", cut.min(), 1 - DIGITS, 1),
        exactly("largest invariance before pooling, cut corners", broken, 0, 1 - DIGITS),
    ]


RULES = {"M2": shifted_maps, "M3": networks_made_by_hand}
