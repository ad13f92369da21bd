"""What decides M1: does the score follow the mean activation?"""

import numpy as np
import pandas as pd

from equivariance.names import SCORES, SIMILARITIES
from equivariance.study.verdicts.rules import Evidence, Outcome, Rule

FOLLOWS, FOLLOWS_NOT = 0.5, 0.3  # as reported: above the one for cosine (0.63), below the other for Pearson (0.11)


def with_activation(results: pd.DataFrame) -> pd.Series:
    """Pearson's correlation, over residual blocks, of a score with the mean activation of the block's maps.

    By score, similarity, and network.
    """
    blocks = results[results.layer.str.startswith("block")]
    keys = ["score", "similarity", "model", "seed"]
    each = blocks.groupby([*keys, "index"])[["value", "activation"]].mean()
    return pd.Series(
        {key: np.corrcoef(one.value, one.activation)[0, 1] for key, one in each.groupby(level=keys)}, dtype=float
    ).rename_axis(keys)


def follows_activation(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    missing = sorted(set(SIMILARITIES) - set(results.similarity))
    if missing:
        return Outcome({}, f"no rows with similarity {', '.join(missing)}")
    found = with_activation(results)
    cases, text = {}, []
    for score in SCORES:
        cosine, pearson = found[score, "cosine"], found[score, "pearson"]
        cases[(score,)] = (cosine > FOLLOWS).all() and (pearson.abs() < FOLLOWS_NOT).all()
        values = [", ".join(f"{value:.2f}" for value in one) for one in (cosine, pearson)]
        text.append(f"{score}: cosine {values[0]}; Pearson {values[1]}")
    networks = results[["model", "seed"]].drop_duplicates()
    return Outcome(cases, f"{'. '.join(text)} ({len(networks)} network{'s' * (len(networks) > 1)})")


RULES = [
    Rule(
        "M1",
        "in every network, cosine correlates with the mean activation above 0.5, and Pearson by less than 0.3",
        follows_activation,
        "rotation",
        similarity=None,
    )
]
