"""What was claimed and what rows say about it: rules declared as data, applied to every kind of evidence.

experiments/claims.yaml holds each claim once, and which experiments' rows are evidence for it. Evidence is of three
kinds: full (the papers' own setting), reduced (our training, smaller) and public (networks trained by others).
experiments/GROUP/claims.py declares `RULES`, one for each claim of the group; the same rule decides on all kinds of
evidence, and under each reading of the measure that the rows hold.
"""

import runpy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from equivariance import rows
from equivariance.errors import UserError
from equivariance.study.checkout import EXPERIMENTS

KINDS = ("full", "reduced", "public")
READINGS = ("image", "dataset")  # of the measure, under which every claim is decided; see `names.OVER`
STATES = ("holds", "one reading", "partly", "fails", "not run")
REPRODUCTION = {
    "holds": "reproduced",
    "one reading": "reproduced under one reading",
    "partly": "partly reproduced",
    "fails": "not reproduced",
    "not run": "not run",
}
OTHERWISE = {
    "holds": "holds",
    "one reading": "holds under one reading",
    "partly": "holds partly",
    "fails": "does not hold",
    "not run": "not run",
}


@dataclass(frozen=True)
class Claim:
    """A claim of the papers, or a later one.

    Attributes:
        number: such as S1.
        source: figures of the thesis (T) and the paper (P), or a later paper.
        group: of claims, a key of experiments/claims.yaml.
        later: whether it comes from later work, so that no verdict on it is a reproduction.
    """

    number: str
    statement: str
    source: str
    group: str
    later: bool


@dataclass(frozen=True)
class Evidence:
    """Rows that decide claims of a group.

    Attributes:
        kind: one of KINDS.
        experiments: folders of experiments/ whose results.csv hold the rows.
        what: whose networks, and how they were trained.
        compare: a column and the values of it whose networks are compared, such as {"aug": ["none", "crop"]}.
        baseline: the value of that column with which the others are compared.
        networks: of all rows those of these models only, and by model what their rows leave open.
        by: "us" or "others": rows of networks that were trained here, or elsewhere; None: both.
        claims: those that it decides; empty: all of the group.
        untrained: whether the networks are made by hand, with nothing to train.
        seeds: trainings of each network that it asks for; a verdict from fewer says so.
    """

    kind: str
    experiments: tuple[str, ...]
    what: str
    compare: Mapping[str, list] = field(default_factory=dict)
    baseline: Any = None
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by: str | None = None
    claims: tuple[str, ...] = ()
    untrained: bool = False
    seeds: int = 1

    def rows(self, folder: Path = EXPERIMENTS) -> pd.DataFrame:
        """Its rows under all readings, transformations and epochs."""
        there = [results(name, folder) for name in self.experiments]
        table = pd.concat([one for one in there if len(one)] or there[:1], ignore_index=True)
        if not self.untrained:
            table = table[table.trained.astype(bool)]
        if self.by is not None:
            table = table[table.epochs.notna() if self.by == "us" else table.epochs.isna()]
        if not self.networks:
            return table
        table = table[table.model.isin(self.networks)]
        # other columns first: the networks go by their old names until then
        columns = {column for columns in self.networks.values() for column in columns}
        for column in sorted(columns, key="model".__eq__):
            known = [self.networks[model].get(column) for model in table.model]
            if column == "model":  # another name for a network
                known = [new or old for new, old in zip(known, table.model, strict=True)]
            table = table.assign(**{column: known})
        return table.drop_duplicates(rows.KEY, keep="last")

    @property
    def group_by(self) -> str:
        """The column that tells the compared networks apart."""
        return next(iter(self.compare), "model")


@dataclass(frozen=True)
class Outcome:
    """What a rule finds.

    Attributes:
        cases: what the claim speaks of, such as ("invariance", "late"), and whether it holds there; None where the
            rows cannot tell. Empty: the rows decide nothing, and the text says why.
        text: the numbers that decide.
    """

    cases: Mapping[tuple[str, ...], bool | None]
    text: str

    def __post_init__(self):
        answers = {case: None if answer is None else bool(answer) for case, answer in self.cases.items()}
        object.__setattr__(self, "cases", answers)  # NumPy's truth values become Python's

    @property
    def state(self) -> str:
        """holds, partly, fails or not run."""
        answers = list(self.cases.values())
        if all(answer is None for answer in answers):
            return "not run"
        if all(answers):
            return "holds"
        return "partly" if any(answers) else "fails"

    def __str__(self) -> str:
        if self.state != "partly":
            return self.text
        named = {"holds for": True, "not for": False, "not run for": None}
        parts = [f"{word} {text}" for word, answer in named.items() if (text := self._where(answer))]
        return f"{'; '.join(parts)}. {self.text}"

    def _where(self, answer: bool | None) -> str:
        """The cases with this answer in words; a first word alone where it says all."""
        found: dict[str, list[str]] = {}
        for case, each in self.cases.items():
            if each is answer:
                found.setdefault(case[0], []).append(" ".join(case[1:]))
        of = {first: sum(case[0] == first for case in self.cases) for first in found}
        texts = [
            first if len(rest) == of[first] else f"{first} ({', '.join(rest)})" for first, rest in found.items()
        ]
        return ", ".join(texts)


@dataclass(frozen=True)
class Rule:
    """What decides a claim.

    Attributes:
        number: of the claim.
        decided_by: the rule in words.
        decide: from rows of trained networks and the evidence that they are, to the outcome.
        transform: of the rows that it takes, such as "translation"; None: all.
        similarity: of the rows that it takes; None: all.
        needs: values of the compared column without which it cannot be asked; None: all that the evidence lists.
        every_epoch: whether it takes the rows of all epochs; otherwise those of the last.
        from_rows: False for a rule that needs none.
    """

    number: str
    decided_by: str
    decide: Callable[[pd.DataFrame, Evidence], Outcome]
    transform: str | None = None
    similarity: str | None = "pearson"
    needs: tuple | None = None
    every_epoch: bool = False
    from_rows: bool = True


@dataclass(frozen=True)
class Verdict:
    """On a claim, from one kind of evidence under one reading of the measure.

    Attributes:
        over: the reading, of READINGS; None where nothing was measured, or none is needed.
        seeds: in how many seeds all networks were there that are compared.
    """

    number: str
    evidence: Evidence
    over: str | None
    outcome: Outcome
    seeds: int

    @property
    def kind(self) -> str:
        return self.evidence.kind

    @property
    def fewer_seeds(self) -> str:
        """Such as " (1 of 3 seeds run)", where it rests on fewer trainings than its evidence asks for."""
        fewer = self.seeds < self.evidence.seeds and self.outcome.state != "not run"
        return f" ({self.seeds} of {self.evidence.seeds} seeds run)" if fewer else ""

    def __str__(self) -> str:
        return word(self.number, self.kind, self.outcome.state) + self.fewer_seeds


def word(number: str, kind: str, state: str) -> str:
    """A state in words; only full evidence for a claim of the papers is a reproduction."""
    reproduction = kind == "full" and not claimed()[number].later
    return (REPRODUCTION if reproduction else OTHERWISE)[state]


@cache
def described() -> dict[str, dict]:
    """Title, setting, command, evidence and claims of each group in experiments/claims.yaml."""
    return yaml.safe_load((EXPERIMENTS / "claims.yaml").read_text())


@cache
def claimed() -> dict[str, Claim]:
    """All claims by number, in the order of the list."""
    return {
        number: Claim(number, statement, source, group, about.get("later", False))
        for group, about in described().items()
        for number, (statement, source) in about["claims"].items()
    }


@cache
def evidence_of(group: str) -> tuple[Evidence, ...]:
    """All evidence that is listed for a group of claims."""
    found = []
    for kind, entries in described()[group]["evidence"].items():
        if kind not in KINDS:
            raise UserError(f"claims.yaml, {group}: evidence {kind} is none of {', '.join(KINDS)}")
        for entry in entries:
            names = entry["rows"] if isinstance(entry["rows"], list) else [entry["rows"]]
            more = {key: value for key, value in entry.items() if key != "rows"}
            more["claims"] = tuple(more.get("claims", ()))
            found.append(Evidence(kind, tuple(names), **more))
    return tuple(found)


def rules_of(group: str, folder: Path = EXPERIMENTS) -> dict[str, Rule]:
    """The rules of a group of claims by number; none where they are not written yet."""
    path = folder / group / "claims.py"
    return {rule.number: rule for rule in _declared(path)} if path.exists() else {}


@cache
def _declared(path: Path) -> tuple[Rule, ...]:
    module = runpy.run_path(str(path))
    if "RULES" not in module:
        raise UserError(f"{path} declares no RULES, see equivariance/study/verdicts/rules.py")
    return tuple(module["RULES"])


def verdicts_of(group: str, folder: Path = EXPERIMENTS) -> list[Verdict]:
    """The verdicts on the claims of a group: for each claim and evidence, one for each reading."""
    rules = rules_of(group, folder)
    return [
        verdict
        for number in described()[group]["claims"]
        for evidence in evidence_of(group)
        if number in rules and asks(rules[number], evidence)
        for verdict in decided(rules[number], evidence, evidence.rows(folder))
    ]


def asks(rule: Rule, evidence: Evidence) -> bool:
    """Whether this evidence is for the rule's claim and has the networks that it compares."""
    if evidence.claims and rule.number not in evidence.claims:
        return False
    listed = evidence.compare.get(evidence.group_by, [])
    return set(rule.needs or ()) <= set(listed)


def decided(rule: Rule, evidence: Evidence, table: pd.DataFrame) -> list[Verdict]:
    """The verdicts of a rule on rows: one for each reading; "not run" where rows or networks are missing.

    Networks are compared within a seed: a seed that lacks some of them is left out.
    """

    def no(why: str, over: str | None = None) -> Verdict:
        return Verdict(rule.number, evidence, over, Outcome({}, why), 0)

    if not rule.from_rows:
        return [Verdict(rule.number, evidence, None, rule.decide(table, evidence), evidence.seeds)]
    table = table[table.over.isin(READINGS)]
    for column, value in (("transform", rule.transform), ("similarity", rule.similarity)):
        if value is not None:
            table = table[table[column] == value]
    if not rule.every_epoch:
        table = rows.of_last_epoch(table)
    if table.empty:
        return [no(f"no rows yet{f' under {rule.transform}' if rule.transform else ''}")]
    found = []
    for over in READINGS:
        one = table[table.over == over]
        if one.empty:
            continue
        column, listed = evidence.group_by, evidence.compare.get(evidence.group_by, [])
        needed = [each for each in listed if rule.needs is None or each in (*rule.needs, evidence.baseline)]
        missing = [str(each) for each in needed if each not in set(one[column])]
        if missing:
            found.append(no(f"no rows with {column} {', '.join(missing)}", over))
            continue
        if needed:
            one = one[one[column].isin(needed)]
        there = one.groupby("seed")[column].nunique()
        complete = there.index[there == one[column].nunique()]
        if needed and complete.empty:
            found.append(no(f"no seed with all of {column} {', '.join(map(str, needed))}", over))
            continue
        if needed:
            one = one[one.seed.isin(complete)]
        found.append(Verdict(rule.number, evidence, over, rule.decide(one, evidence), len(complete)))
    return found


def combined(verdicts: Iterable[Verdict]) -> str:
    """The state of a claim by one kind of evidence, from its verdicts under all readings."""
    states = [one.outcome.state for one in verdicts]
    states = [state for state in states if state != "not run"] or ["not run"]
    if len(set(states)) == 1:
        return states[0]
    return "one reading" if "holds" in states else "partly"


def fewer_seeds(verdicts: Iterable[Verdict]) -> str:
    """The first of verdicts that says so says it for all, see `Verdict.fewer_seeds`."""
    return next((one.fewer_seeds for one in verdicts if one.fewer_seeds), "")


def in_words(verdicts: Iterable[Verdict]) -> str:
    """The verdicts of one kind on one claim as Markdown, with the reading where it matters."""
    verdicts = list(verdicts)
    if not verdicts:
        return "–"
    if len(verdicts) > 1 and len({str(one) for one in verdicts}) == 1:
        return f"**{verdicts[0]}**"
    return ", ".join(
        f"**{one}**" + (f" (`{one.over}`)" if one.over and one.outcome.state != "not run" else "")
        for one in verdicts
    )


def evidence_text(verdicts: Iterable[Verdict]) -> str:
    """The numbers behind verdicts on one claim, with the reading before each."""
    verdicts = list(verdicts)
    return " ".join(f"`{one.over}`: {one.outcome}." if one.over else str(one.outcome) for one in verdicts)


def results(name: str, folder: Path = EXPERIMENTS) -> pd.DataFrame:
    """The committed rows of an experiment; none where there are none yet."""
    path = folder / name / "results.csv"
    return _read(path, path.stat().st_mtime_ns).copy() if path.exists() else pd.DataFrame(columns=rows.COLUMNS)


@cache
def _read(path: Path, _changed: int) -> pd.DataFrame:
    return rows.read(path)


def spread(values: pd.Series) -> str:
    """Mean and standard deviation over seeds."""
    return f"{values.mean():.2f} ± {values.std():.2f}" if len(values) > 1 else f"{values.mean():.2f}"


def markdown(verdicts: Iterable[Verdict]) -> str:
    """A table of verdicts, one row for each claim and kind of evidence."""
    lines = ["| | claim | verdict | ours |", "|---|---|---|---|"]
    together: dict[tuple, list[Verdict]] = {}
    for one in verdicts:
        together.setdefault((one.number, one.evidence.kind, one.evidence.experiments), []).append(one)
    for (number, kind, _), ones in together.items():
        shown = in_words(ones) if kind == "full" else f"{kind}: {in_words(ones)}"
        lines.append(f"| {number} | {cell(claimed()[number].statement)} | {shown} | {cell(evidence_text(ones))} |")
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text inside a table of Markdown."""
    return " ".join(text.replace("|", "\\|").split())
