"""M1: does the score follow the mean activation?

python experiments/similarity/claims.py
"""

from pathlib import Path

import numpy as np
import pandas as pd

from equivariance.analysis.verdicts import Verdict, markdown, not_run, verdict
from equivariance.runs import rows

HERE = Path(__file__).resolve().parent
MEASURES = ("invariance", "equivariance")


def verdicts(results: pd.DataFrame) -> list[Verdict]:
    """M1 on a trained ResNet-44."""
    return not_run("M1") if results.empty else [follows_activation(results)]


def with_activation(results: pd.DataFrame, similarity: str, measure: str) -> float:
    """Pearson's correlation, over residual blocks, of a score with the mean activation of the block's maps."""
    blocks = results[results.layer.str.startswith("block")]
    one = blocks[(blocks.similarity == similarity) & (blocks.measure == measure)]
    return float(np.corrcoef(one.value, one.activation)[0, 1])


def follows_activation(results: pd.DataFrame) -> Verdict:
    """M1: as reported if cosine correlates with the mean activation above 0.5, and Pearson by less than 0.3."""
    found = {
        (similarity, measure): with_activation(results, similarity, measure)
        for similarity in ("cosine", "pearson")
        for measure in MEASURES
    }
    text = "; ".join(
        f"{measure}: cosine {found['cosine', measure]:.2f}, Pearson {found['pearson', measure]:.2f}"
        for measure in MEASURES
    )
    holds = all(found["cosine", measure] > 0.5 and abs(found["pearson", measure]) < 0.3 for measure in MEASURES)
    return verdict("M1", holds, text)


if __name__ == "__main__":
    print(markdown(verdicts(rows.read(HERE / "results.csv"))))
