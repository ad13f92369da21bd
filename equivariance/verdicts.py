"""What was claimed, what we found: the rows of the tables of verdicts."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Verdict:
    """A claim of the papers, by its number in their list, with the statistic that decides it.

    `holds` is None where the rows that would decide it are not there.
    """

    number: str
    claim: str
    holds: bool | None
    evidence: str

    def __str__(self) -> str:
        return {True: "reproduced", False: "not reproduced", None: "not run"}[self.holds]


def spread(values: pd.Series) -> str:
    """Mean and standard deviation over seeds."""
    return f"{values.mean():.2f} ± {values.std():.2f}"


def markdown(verdicts: Iterable[Verdict]) -> str:
    """A table of verdicts."""
    lines = ["| | claim | verdict | ours |", "|---|---|---|---|"]
    lines += [f"| {one.number} | {one.claim} | **{one}** | {one.evidence} |" for one in verdicts]
    return "\n".join(lines)
