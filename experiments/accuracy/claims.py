"""What the papers claim about equivariance and accuracy (R1, R2), and what our rows say.

python experiments/accuracy/claims.py
"""

from pathlib import Path

import pandas as pd

from equivariance.analysis.correlation import by_part
from equivariance.analysis.verdicts import Verdict, markdown, verdict
from equivariance.runs import rows

HERE = Path(__file__).resolve().parent
BEFORE_POOLING = ["early", "middle", "late"]
TRANSFORMS = {"R1": "translation", "R2": "rotation"}
FEWEST = 6  # networks, as in the papers


def verdicts(results: pd.DataFrame) -> list[Verdict]:
    """R1 and R2, decided on the pretrained networks."""
    found = by_part(results[results.trained.astype(bool) & (results.dataset == "imagenet")])
    return [decided(number, found[found["transform"] == TRANSFORMS[number]]) for number in TRANSFORMS]


def decided(number: str, found: pd.DataFrame) -> Verdict:
    """R1: rho of both scores from 0.4 to 0.8 in every part before pooling, at least 0.9 for the logits.

    R2: from -0.3 to 0.3 in every part before pooling, at least 0.8 for the logits.
    """
    networks = 0 if found.empty else found.networks.max()
    if networks < FEWEST:
        text = (
            f"{networks} pretrained networks, needs {FEWEST}: python measure.py experiment=accuracy data_dir=FOLDER"
        )
        return verdict(number, None, text)
    before, end = found[found.part.isin(BEFORE_POOLING)].rho, found[found.part == "final"].rho
    low, high, least = {"R1": (0.4, 0.8, 0.9), "R2": (-0.3, 0.3, 0.8)}[number]
    holds = before.between(low, high).all() and end.min() >= least and end.min() > before.max()
    text = "; ".join(f"{row.part} {row.measure} {row.rho:.2f} (p {row.p:.2g})" for row in found.itertuples())
    return verdict(number, holds, f"rho over {networks} networks: {text}")


if __name__ == "__main__":
    print(markdown(verdicts(rows.read(HERE / "results.csv"))))
