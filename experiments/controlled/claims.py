"""What decides M2 and M3: what the measure must give where the answer is known."""

import numpy as np
import pandas as pd

from equivariance.names import BEFORE_POOLING
from equivariance.study.verdicts.rules import Evidence, Outcome, Rule

DIGITS = 5e-6  # rows hold six digits


def shifted_maps(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    a, b = np.random.default_rng(0).normal(size=(2, 32 * 32))

    def cosine(x: np.ndarray, y: np.ndarray) -> float:
        return float(x @ y / np.sqrt(x @ x * (y @ y)))

    r, after = (np.corrcoef(a + added, b + added)[0, 1] for added in (0, 0.5))
    before, moved = cosine(a, b), cosine(a + 0.5, b + 0.5)
    cases = {("correlation stays",): abs(r - after) < 1e-12, ("cosine changes",): abs(before - moved) > 0.05}
    text = f"correlation {r:.4f} before and {after:.4f} after, cosine {before:.4f} and {moved:.4f}"
    return Outcome(cases, text)


def networks_made_by_hand(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    lowest = results.groupby(["model", "score"]).value.min()
    whole, cut = lowest["gaussian-whole", "invariance"], lowest["gaussian-cut", "equivariance"]
    blocks = results[results.part.isin(BEFORE_POOLING)]
    broken = blocks.groupby(["model", "score"]).value.max()["gaussian-cut", "invariance"]
    text = (
        f"smallest invariance with isotropic filters {whole:.6f}; "
        f"smallest equivariance with cut corners {cut:.6f}, largest invariance there before pooling {broken:.3f}"
    )
    cases = {
        ("isotropic filters",): whole > 1 - DIGITS,
        ("cut corners",): cut > 1 - DIGITS and broken < 1 - DIGITS,
    }
    return Outcome(cases, text)


RULES = [
    Rule(
        "M2",
        "two random maps, both with 0.5 added: correlation stays, cosine does not",
        shifted_maps,
        from_rows=False,
    ),
    Rule(
        "M3",
        "invariance 1 at every layer of the isotropic network; equivariance 1, and invariance below it, of the one "
        "with cut corners",
        networks_made_by_hand,
        "rotation",
    ),
]
