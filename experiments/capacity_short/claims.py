"""The rules of experiments/capacity on the reduced networks. They decide no claim of the papers.

python experiments/capacity_short/claims.py
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from equivariance.analysis.verdicts import Verdict
from experiments.augmentation.claims import main
from experiments.capacity import claims

HERE = Path(__file__).resolve().parent
WIDTHS = (1, 2, 4)


def verdicts(results: pd.DataFrame) -> list[Verdict]:
    """C1 and C2 as they come out on the reduced networks."""
    return [replace(one, number=f"{one.number} (reduced)") for one in claims.verdicts(results, WIDTHS)]


if __name__ == "__main__":
    main(HERE, verdicts)
