"""What decides the claims about equivariance and accuracy (R1, R2)."""

from functools import partial

import pandas as pd

from equivariance.figures.rank_correlation import with_accuracy
from equivariance.names import BEFORE_POOLING, SCORES
from equivariance.study.verdicts.rules import Evidence, Outcome, Rule

FEWEST = 6  # networks, as in the papers


def rho_by_part(results: pd.DataFrame, evidence: Evidence, before: tuple[float, float], end: float) -> Outcome:
    """Whether rho lies in `before` in every part before pooling, and is at least `end` and larger at the end."""
    found = with_accuracy(results)
    networks = 0 if found.empty else int(found.networks.max())
    if networks < FEWEST:
        return Outcome({}, f"{networks} pretrained networks with accuracies, needs {FEWEST}")
    rho = found.set_index(["score", "part"]).rho
    cases: dict[tuple[str, ...], bool | None] = {}
    for score in SCORES:
        for part in BEFORE_POOLING:
            known = rho[score, part] == rho[score, part]
            cases[score, part] = before[0] <= rho[score, part] <= before[1] if known else None
        above = rho[score, "final"] > max(rho[score, part] for part in BEFORE_POOLING)
        cases[score, "final"] = bool(rho[score, "final"] >= end and above)
    text = "; ".join(f"{row.part} {row.score} {row.rho:.2f} (p {row.p:.2g})" for row in found.itertuples())
    return Outcome(cases, f"rho over {networks} networks: {text}")


RULES = [
    Rule(
        "R1",
        "rho of each score from 0.4 to 0.8 in every part before pooling, at least 0.9 and larger for the logits",
        partial(rho_by_part, before=(0.4, 0.8), end=0.9),
        "translation",
    ),
    Rule(
        "R2",
        "rho of each score from -0.3 to 0.3 in every part before pooling, at least 0.8 and larger for the logits",
        partial(rho_by_part, before=(-0.3, 0.3), end=0.8),
        "rotation",
    ),
]
