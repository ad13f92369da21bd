"""What was claimed, what we found: the list of claims, and the rules of the experiments applied to their rows.

experiments/claims.yaml holds each claim once; experiments/NAME/claims.py decides those of its experiment by
`verdicts(results) -> list[Verdict]`, one rule a claim, whose docstring ("S1: ...") says what decides.
"""

import re
import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

from equivariance.analysis.jobs import FOLDER
from equivariance.errors import UserError
from equivariance.runs import rows

LIST = FOLDER / "claims.yaml"
KINDS = ("reproduced", "not reproduced", "not run")


@dataclass(frozen=True)
class Claim:
    """A claim of the papers.

    Attributes:
        number: such as S1.
        source: figures of the thesis (T) and the paper (P).
        experiment: that decides it, a folder of experiments/.
    """

    number: str
    statement: str
    source: str
    experiment: str


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds, and the numbers that decide it.

    `holds` is None where the rows that would decide it are not there.
    """

    number: str
    claim: str
    holds: bool | None
    evidence: str

    def __str__(self) -> str:
        return KINDS[(True, False, None).index(self.holds)]


@cache
def claimed() -> dict[str, Claim]:
    """All claims by number, in the order of the list."""
    return {
        number: Claim(number, statement, source, experiment)
        for experiment, listed in described().items()
        for number, (statement, source) in listed["claims"].items()
    }


@cache
def described() -> dict[str, dict]:
    """Title, setting, command and claims of each experiment in the list."""
    return yaml.safe_load(LIST.read_text())


def verdict(number: str, holds: bool | None, evidence: str) -> Verdict:
    """The verdict on a claim of the list."""
    return Verdict(number, claimed()[number].statement, None if holds is None else bool(holds), evidence)


def not_run(*numbers: str, why: str = "no rows yet") -> list[Verdict]:
    """Claims whose rows are not there."""
    return [verdict(number, None, why) for number in numbers]


Rule = Callable[[pd.DataFrame], tuple[bool, str]]


def by_rules(rules: Mapping[str, tuple[Sequence, Rule]], results: pd.DataFrame, group: str) -> list[Verdict]:
    """One verdict for each claim: "not run" unless every network that its rule compares was measured.

    Args:
        rules: by the number of the claim, the networks that it compares, and a function of the rows to whether it
            holds and the evidence.
        results: rows of trained networks.
        group: the column that names the networks: "aug", "width".
    """
    found = []
    for number, (networks, rule) in rules.items():
        missing = [str(network) for network in networks if network not in set(results[group])]
        why = f"no rows with {group} {', '.join(missing)}"
        found += not_run(number, why=why) if missing else [verdict(number, *rule(results))]
    return found


def verdicts_of(name: str, folder: Path = FOLDER) -> list[Verdict]:
    """The verdicts of an experiment from its committed rows; what it should decide and does not is not run."""
    rules = folder / name / "claims.py"
    found = {one.number: one for one in _rules(rules)["verdicts"](results(name, folder))} if rules.exists() else {}
    expected = [number for number, claim in claimed().items() if claim.experiment == name]
    listed = {one.number: one for one in not_run(*expected)}
    for number, one in found.items():
        listed[number] = verdict(number, one.holds, one.evidence) if number in claimed() else one
    return list(listed.values())


def decides_by(name: str, folder: Path = FOLDER) -> dict[str, str]:
    """The rule behind each claim, in words: the docstrings that begin with its number, or several in turn."""
    rules = folder / name / "claims.py"
    named = _rules(rules)["verdicts"].__globals__ if rules.exists() else {}
    texts = [" ".join((each.__doc__ or "").split()) for each in named.values() if callable(each)]
    rule = r"([A-Z]\d+): (.*?)(?= [A-Z]\d+: |$)"
    return dict(found for text in texts if re.match(rule, text) for found in re.findall(rule, text))


def results(name: str, folder: Path = FOLDER) -> pd.DataFrame:
    """The committed rows of an experiment; none where there are none yet."""
    path = folder / name / "results.csv"
    return rows.read(path) if path.exists() else pd.DataFrame(columns=rows.COLUMNS)


@cache
def _rules(path: Path) -> dict:
    module = runpy.run_path(str(path))
    if "verdicts" not in module:
        raise UserError(f"{path} has no function verdicts(results)")
    return module


def spread(values: pd.Series) -> str:
    """Mean and standard deviation over seeds."""
    return f"{values.mean():.2f} ± {values.std():.2f}"


def markdown(verdicts: Iterable[Verdict]) -> str:
    """A table of verdicts."""
    lines = ["| | claim | verdict | ours |", "|---|---|---|---|"]
    lines += [f"| {one.number} | {cell(one.claim)} | **{one}** | {cell(one.evidence)} |" for one in verdicts]
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text inside a table of Markdown."""
    return " ".join(text.replace("|", "\\|").split())
