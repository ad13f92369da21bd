"""What was claimed, what we found: the rows of the tables of verdicts."""

from collections.abc import Callable, Iterable, Sequence
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


Rule = tuple[str, str, Sequence, Callable[[pd.DataFrame], tuple[bool, str]]]


def decide(rules: Iterable[Rule], results: pd.DataFrame, group: str) -> list[Verdict]:
    """One verdict for each rule: "not run" unless every network that it compares was measured.

    Args:
        rules: number, claim, the networks that it compares, and a function of the rows to whether it holds
            and the evidence.
        results: rows of trained networks.
        group: the column that names the networks: "aug", "width".
    """
    decided = []
    for number, claim, networks, rule in rules:
        missing = [str(network) for network in networks if network not in set(results[group])]
        found = (None, f"no rows with {group} {', '.join(missing)}") if missing else rule(results)
        decided.append(Verdict(number, claim, *found))
    return decided
