"""The rules of experiments/augmentation on the reduced networks. They decide no claim of the papers.

python experiments/augmentation_short/claims.py
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from equivariance.analysis.verdicts import Verdict
from experiments.augmentation import claims

HERE = Path(__file__).resolve().parent


def verdicts(results: pd.DataFrame) -> list[Verdict]:
    """A1 to A5 as they come out on the reduced networks."""
    return [replace(one, number=f"{one.number} (reduced)") for one in claims.verdicts(results)]


if __name__ == "__main__":
    claims.main(HERE, verdicts)
