"""What decides the claims about capacity (C1, C2), seed by seed."""

import pandas as pd
from scipy.stats import spearmanr

from equivariance.names import BEFORE_POOLING, SCORES
from equivariance.study.verdicts.parts import by_part
from equivariance.study.verdicts.rules import Evidence, Outcome, Rule

SAME = 0.05  # of scores in [0, 1]


def scores_by_width(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each score, part and seed, a column for each width."""
    return by_part(results, "width").pivot_table(index=["score", "part", "seed"], columns="width", values="value")


def falls_with_width(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    scores = scores_by_width(results)
    cases, text = {}, []
    for score in SCORES:
        for part in BEFORE_POOLING:
            one = scores.loc[(score, part)]
            falls = [spearmanr(row.index, row).statistic < 0 for _, row in one.iterrows()]
            cases[score, part] = all(falls)
            values = " ".join(f"{value:.3f}" for value in one.mean())
            text.append(f"{part} {score} {values}, falls in {sum(falls)} of {len(falls)} seeds")
    names = ", ".join(f"{width:g}" for width in scores.columns)
    return Outcome(cases, f"widths {names}: " + "; ".join(text))


def same_at_the_end(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    final = scores_by_width(results).xs("final", level="part")
    span = final.max(axis=1) - final.min(axis=1)
    text = "largest minus smallest, by seed: " + "; ".join(
        f"{score} {' '.join(f'{value:.3f}' for value in span[score])}" for score in SCORES
    )
    return Outcome({(score,): (span[score] <= SAME).all() for score in SCORES}, text)


RULES = [
    Rule(
        "C1",
        "Spearman's rho of score and width is negative in early, middle and late, for each score and seed",
        falls_with_width,
        "translation",
    ),
    Rule("C2", "in every seed, the final scores of all widths lie within 0.05", same_at_the_end, "translation"),
]
