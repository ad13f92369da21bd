"""What was claimed and what rows say about it: experiments/claims.yaml read, its tests applied to every evidence.

A test compares means over rows. Its keys:

    name      before the names of its cases, where a claim has several tests
    for       lists of values by column (part, score, aug, role, versus, ...): a case for each combination
    plus      further values that choose the rows of a case, and `minus` those that are subtracted
    against   the difference under these values is subtracted too
    along     index or activation: in place of a mean the correlation with depth (Spearman's) or with the mean
              activation (Pearson's) over the blocks before pooling of each network, its stem left out
    rank      accuracy, or values that choose rows: in place of a difference Spearman's rho over networks
    expect    higher, lower, equal, differs, reaches (no lower), or [low, high]
    smallest  effect of interest; `smallest` of claims.yaml by scale where a test gives none
    also      lists as in `for`: secondary cases, which are shown and do not vote
    unit      seed (networks are paired by seed), network, or another column
    column    of which the mean is taken: value, or agreement

Of values, `$first`, `$last` and `$all` are those that the evidence compares, `$versus` those of the case, `before`
all parts before pooling, `last` the last block before it or the last epoch, and null takes all rows.
"""

import runpy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, product
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy.stats import pearsonr, spearmanr

from equivariance import rows
from equivariance.errors import UserError
from equivariance.names import BEFORE_POOLING, OVER
from equivariance.study import tables
from equivariance.study.config import EXPERIMENTS
from equivariance.study.verdicts.decide import Case, Outcome, Range, decided, over_networks, over_units

KINDS = ("full", "reduced", "public")
STATES = ("holds", "partly", "contradicted", "undecided", "not run")
BORDERS = ("", "full ", "circular ")  # before the name of a transformation, see `transforms.exact.Shift`
UNITS = {"seed": ["seed"], "network": ["dataset", "model", "aug", "width", "seed"]}
TEST = {"name", "for", "plus", "minus", "against", "along", "rank", "expect", "smallest", "also", "unit", "column"}


@dataclass(frozen=True)
class Claim:
    """A claim of the papers, or a later one: an entry of experiments/claims.yaml."""

    number: str
    statement: str
    source: str
    group: str
    later: bool = False
    transform: str | None = None
    tests: tuple[Mapping[str, Any], ...] = ()  # empty: `RULES` of experiments/GROUP/claims.py decide
    every_epoch: bool = False
    parts: bool = False
    decided_by: str = ""
    note: str = ""
    before: Mapping[str, str] = field(default_factory=dict)  # its state by kind, by the rules of before
    why: str = ""  # today's may differ

    def __str__(self) -> str:
        return self.decided_by or "; and ".join(in_words(test, self.group) for test in self.tests)


@dataclass(frozen=True)
class Evidence:
    """Rows that decide claims of a group.

    Attributes:
        kind: one of KINDS.
        experiments: folders of experiments/ whose results.csv hold the rows.
        what: whose networks, and how they were trained.
        compare: a column and the values of it whose networks are compared, such as {"aug": ["none", "crop"]}.
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
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by: str | None = None
    claims: tuple[str, ...] = ()
    untrained: bool = False
    seeds: int = 1

    def rows(self, folder: Path = EXPERIMENTS) -> pd.DataFrame:
        """Its rows over everything, of all transformations and epochs."""
        there = [results(name, folder) for name in self.experiments]
        table = pd.concat([one for one in there if len(one)] or there[:1], ignore_index=True)
        if not self.untrained:
            table = table[table.trained.astype(bool)]
        if self.by is not None:
            table = table[table.epochs.notna() if self.by == "us" else table.epochs.isna()]
        if not self.networks:
            return table
        table = table[table.model.isin(self.networks)]
        known = pd.DataFrame(self.networks).T.reindex(table.model).set_axis(table.index).infer_objects()
        if "model" in known:  # another name for a network
            known["model"] = known.model.fillna(table.model)
        table = table.assign(**known)
        return table.drop_duplicates(rows.KEY, keep="last")


@dataclass(frozen=True)
class Verdict:
    """On a claim, from one evidence; `under`: over what the correlation ran, and the border if it is another."""

    number: str
    evidence: Evidence
    under: str
    outcome: Outcome
    seeds: int = 0

    @property
    def kind(self) -> str:
        return self.evidence.kind

    @property
    def state(self) -> str:
        return self.outcome.state


@cache
def document() -> dict[str, Any]:
    """experiments/claims.yaml: `smallest`, `sources`, and under `groups` the claims with their evidence."""
    return yaml.safe_load((EXPERIMENTS / "claims.yaml").read_text())


def described() -> dict[str, dict]:
    """Title, setting, command, evidence and claims of each group."""
    return document()["groups"]


@cache
def claimed() -> dict[str, Claim]:
    """All claims by number, in the order of the list."""
    found = {}
    for group, about in described().items():
        for number, entry in about["claims"].items():
            tests = tuple(entry.get("tests", ()))
            if unknown := {key for test in tests for key in test} - TEST:
                raise UserError(f"claims.yaml, {number}: a test has no key {', '.join(sorted(unknown))}")
            given = {"group": group, "later": about.get("later", False)} | entry | {"tests": tests}
            found[number] = Claim(number, **given)
    return found


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
            found.append(Evidence(kind, tuple(names), **more | {"claims": tuple(more.get("claims", ()))}))
    return tuple(found)


def verdicts_of(group: str, folder: Path = EXPERIMENTS) -> list[Verdict]:
    """The verdicts on the claims of a group: of each claim and evidence, by border and `over` that have rows."""
    with_rows = [(evidence, evidence.rows(folder)) for evidence in evidence_of(group)]
    return [
        verdict
        for claim in claimed().values()
        for evidence, table in with_rows
        if claim.group == group and claim.number in (evidence.claims or (claim.number,)) and asks(claim, evidence)
        for verdict in judge(claim, evidence, table, folder)
    ]


def asks(claim: Claim, evidence: Evidence) -> bool:
    """Whether a claim compares networks of which the evidence lists some."""
    return not claim.tests or all(
        any({None, *listed} & {*_listed(test.get("for", {}).get(column, [None]), listed)} for test in claim.tests)
        for column, listed in evidence.compare.items()
    )


def judge(claim: Claim, evidence: Evidence, table: pd.DataFrame, folder: Path = EXPERIMENTS) -> list[Verdict]:
    """The verdicts on a claim from rows, one for each border and `over` that has rows; "not run" if none has."""
    if not claim.tests:
        cases = _written(folder / claim.group / "claims.py")[claim.number](table)
        return [Verdict(claim.number, evidence, "", decided(cases, claim.parts), evidence.seeds)]
    if not claim.every_epoch:
        table = rows.of_last_epoch(table)
    found = []
    for over, border in product(OVER, BORDERS):
        name = f"{border}{claim.transform}"
        one = table[(table.over == over) & ((table["transform"] == name) if claim.transform else not border)]
        if one.empty:
            continue
        cases = [case for test in claim.tests for case in cases_of(test, one, evidence)]
        seeds = int(one.groupby(list(evidence.compare) or "over", dropna=False).seed.nunique().min())
        under = f"{over}, {border}border" if border else over
        found.append(Verdict(claim.number, evidence, under, decided(cases, claim.parts), seeds))
    no_rows = Outcome({}, why=f"no rows yet{f' under {claim.transform}' if claim.transform else ''}")
    return found or [Verdict(claim.number, evidence, "", no_rows)]


@cache
def _written(path: Path) -> dict[str, Any]:
    module = runpy.run_path(str(path)) if path.exists() else {}
    if "RULES" not in module:
        raise UserError(f"{path} declares no RULES, and claims.yaml no tests, see study/verdicts/rules.py")
    return module["RULES"]


def cases_of(test: Mapping[str, Any], table: pd.DataFrame, evidence: Evidence) -> Iterator[Case]:
    """The cases of a test, the primary ones first."""
    voting = list(_grid(test.get("for", {}), evidence))
    showing = list(_grid({**test.get("for", {}), **test["also"]}, evidence)) if "also" in test else []
    expected = _range(test)
    similarity = {} if "similarity" in test.get("for", {}) else {"similarity": "pearson"}
    unit = test.get("unit", "network" if {"rank", "along"} & {*test} else "seed")
    columns = {name: table[name].to_numpy() for name in table}
    units = UNITS.get(unit, [unit])
    columns["unit"] = table.groupby(units, dropna=False).ngroup().to_numpy()
    columns["place"] = table.groupby([*units, "index"], dropna=False).ngroup().to_numpy()
    for case in [*voting, *(each for each in showing if each not in voting)]:
        name = ", ".join(map(str, [*filter(None, [test.get("name")]), *case.values()]))
        chosen = _Chosen(columns, similarity | case, test, evidence)
        estimate, count, interval = chosen.correlation() if "rank" in test else chosen.difference()
        yield Case(name, estimate, count, interval, expected, case in voting)


@dataclass(frozen=True)
class _Chosen:
    """The numbers of one case, by unit, from the columns of a table.

    `unit` numbers the units, and `place` their layers.
    """

    columns: Mapping[str, np.ndarray]
    case: Mapping[str, Any]
    test: Mapping[str, Any]
    evidence: Evidence

    def difference(self) -> tuple[float, int, Any]:
        """Its mean over units, their number, and the interval."""
        terms = [(1, {**self.test.get("plus", {})})]
        terms += [(-1, self.test["minus"])] if "minus" in self.test else []
        if "against" in self.test:
            terms += [(-sign, {**values, **self.test["against"]}) for sign, values in terms]
        parts = [(sign, self.means(values)) for sign, values in terms]
        total = sum(sign * part.value for sign, part in parts).dropna()
        halves = [sign * part.half.reindex(total.index).mean() for sign, part in parts]
        # scores of the same maps share their error; otherwise as if images were drawn anew, which is wider
        same = {*self.test.get("plus", {}), *self.test.get("minus", {})} == {"score"} and "against" not in self.test
        images = (abs(sum(halves)) if same else np.sqrt(np.square(halves).sum())) / 1.96
        most = len(terms) if "along" in self.test else inf  # each term is a correlation
        return total.mean() if len(total) else np.nan, len(total), over_units(total, np.nan_to_num(images), most)

    def correlation(self) -> tuple[float, int, Any]:
        """Spearman's rho over networks."""
        rank = self.test["rank"]
        given = {"x": self.means(self.test.get("plus", {})).value}
        given["y"] = self.accuracies() if rank == "accuracy" else self.means(rank).value
        if "minus" in self.test:
            given["minus"] = self.means(self.test["minus"]).value
        each = pd.DataFrame(given).dropna().to_numpy(float).T
        estimate, interval = over_networks(*each)
        return estimate, each.shape[1], interval

    def accuracies(self) -> pd.Series:
        return pd.Series(self.columns["accuracy"]).groupby(self.columns["unit"]).first()

    def means(self, values: Mapping[str, Any]) -> pd.DataFrame:
        """Mean over elements, then layers, by unit: `value`, and `half` the width of its interval over images."""
        column, along = self.test.get("column", "value"), self.test.get("along")
        rows = np.arange(len(self.columns["unit"]))
        for key, value in {**self.case, **values}.items():
            if value is not None and key != "versus":
                rows = rows[self._match(rows, key, self.case["versus"] if value == "$versus" else value)]
        if along:
            rows = rows[self._match(rows, "part", "before") & (self.columns["layer"][rows] != "stem")]
        of = {key: self.columns[key][rows] for key in ("place", "unit", "index", column, "high", "activation")}
        half = np.maximum(of["high"] - of["value"], 0) if column == "value" else np.zeros(len(rows))
        layers = _means(of["place"], of["unit"], of["index"], of[column], half, of["activation"])
        units = np.unique(layers[0])
        if along:
            found = [_along(along, *layers[[1, 2, 4]][:, layers[0] == unit]) for unit in units]
            return pd.DataFrame({"value": found, "half": 0.0}, units)
        scores, half = _means(layers[0], *layers[2:4])
        return pd.DataFrame({"value": scores, "half": half}, units)

    def _match(self, rows: np.ndarray, key: str, value: Any) -> np.ndarray:
        """Which of the rows have a value."""
        if key not in self.columns:
            return np.zeros(len(rows), bool)
        found = self.columns[key][rows]
        if (key, value) == ("part", "last"):
            index = self.columns["index"][rows]
            return index == index[np.isin(found, BEFORE_POOLING)].max(initial=-1)
        if (key, value) == ("epoch", "last"):
            return found == self.columns["epochs"][rows]
        values = _listed(value if isinstance(value, list) else [value], self.evidence.compare.get(key, []))
        if key == "part":
            values = [each for one in values for each in (BEFORE_POOLING if one == "before" else [one])]
        if key == "element":
            found, values = found.astype(str), [*map(str, values)]
        return np.any([np.equal(found, each) for each in values], axis=0)


def _means(keys: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    """A row for each column: its mean over what is known under each key, in the order of the keys."""
    _, place = np.unique(keys, return_inverse=True)
    values = np.array(columns, float)
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        sums, counts = ([np.bincount(place, each) for each in of] for of in (np.where(known, values, 0), known))
        return np.array(sums) / np.array(counts)


def _along(along: str, index: np.ndarray, scores: np.ndarray, activation: np.ndarray) -> float:
    """The correlation of a network's scores with depth or activation over its layers."""
    if len(scores) < 3:
        return np.nan
    return (spearmanr(index, scores) if along == "index" else pearsonr(activation, scores)).statistic


def _listed(values: Iterable[Any], compared: list) -> list:
    """Values with `$first`, `$last` and `$all` replaced by those that the evidence compares."""
    short = {"$first": compared[:1], "$last": compared[-1:], "$all": compared}
    return [each for value in values for each in (short[value] if value in [*short] else [value])]


def _grid(lists: Mapping[str, list], evidence: Evidence) -> Iterator[dict[str, Any]]:
    filled = [_listed(values, evidence.compare.get(column, [])) for column, values in lists.items()]
    yield from (dict(zip(lists, values, strict=True)) for values in product(*filled))


def _range(test: Mapping[str, Any]) -> Range:
    """Where a test puts its numbers."""
    scale = "rho" if {"rank", "along"} & {*test} else "score"
    expect, e = test["expect"], test.get("smallest", document()["smallest"][scale])
    if isinstance(expect, list):
        low, high = expect
        return Range(-inf if low is None else low, inf if high is None else high)
    known = {"higher": (e, inf), "lower": (-inf, -e), "equal": (-e, e), "differs": (-e, e), "reaches": (-e, inf)}
    return Range(*known[expect], inside=expect != "differs")


def in_words(test: Mapping[str, Any], group: str) -> str:
    """What a test of a group of claims asks, made from its keys."""

    def named(values: Mapping[str, Any]) -> str:
        return ", ".join(f"{key} {words(key, value)}" for key, value in values.items()) or "the score"

    def words(column: str, value: Any) -> str:
        compared = [one.compare[column] for one in evidence_of(group) if column in one.compare]
        values = [_listed(value if isinstance(value, list) else [value], each) for each in compared or [[]]]
        names = {None: "all", "$versus": "of `versus`"}
        return "/".join(str(names.get(each, each)) for each in dict.fromkeys(chain(*values)))

    what = named(test.get("plus", {}))
    if "along" in test:
        what = f"correlation with {'depth' if test['along'] == 'index' else test['along']}"
    if "rank" in test:
        rank = test["rank"]
        what = f"rho of {what} and {rank if isinstance(rank, str) else named(rank)}"
    minus = f" minus {named(test['minus'])}" if "minus" in test else ""
    against = f" minus the same for {named(test['against'])}" if "against" in test else ""
    also = f" (secondary: {named(test['also'])})" if "also" in test else ""
    return f"{what}{minus}{against} {_range(test)}, for {named(test.get('for', {}))}{also}"


def agreed(verdicts: Iterable[Verdict]) -> str:
    """The state of a claim by one kind of evidence; `depends` where borders, `over` or evidence disagree."""
    states = {one.state for one in verdicts} - {"not run"}
    return "depends" if len(states) > 1 else (states or {"not run"}).pop()


def said(verdicts: Iterable[Verdict]) -> str:
    """The verdicts of one kind on one claim as Markdown; disagreement is said first."""
    ones = [one for one in verdicts if one.state != "not run"]
    if len({one.state for one in ones}) < 2:
        return f"**{agreed(ones)}**{fewer_seeds(ones)}"
    by_state: dict[str, list[str]] = {}
    for one in ones:
        by_state.setdefault(one.state, []).append(f"`{one.under}`")
    texts = (f"{state} ({', '.join(dict.fromkeys(those))})" for state, those in by_state.items())
    return f"**depends**: {', '.join(texts)}{fewer_seeds(ones)}"


def fewer_seeds(verdicts: Iterable[Verdict]) -> str:
    """Such as " (1 of 3 seeds run)", where one rests on fewer trainings than its evidence asks for."""
    fewer = (one for one in verdicts if one.seeds < one.evidence.seeds and one.state != "not run")
    return next((f" ({one.seeds} of {one.evidence.seeds} seeds run)" for one in fewer), "")


def evidence_text(verdicts: Iterable[Verdict]) -> str:
    """The number behind verdicts on one claim; one for each state, where borders or `over` disagree."""
    first: dict[str, Verdict] = {}
    for one in verdicts:
        first.setdefault(one.state, one)
    return ". ".join(f"`{one.under}` {one.outcome}" if one.under else str(one.outcome) for one in first.values())


def cases(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """Every case of every verdict: one row each."""
    lines = []
    for one in verdicts:
        if one.state != "not run":
            place = {"claim": one.number, "kind": one.kind, "rows": " ".join(one.evidence.experiments)}
            place |= {"under": one.under, "verdict": one.state}
            lines += [place | case for case in one.outcome.rows()]
    return pd.DataFrame(lines)


def results(name: str, folder: Path = EXPERIMENTS) -> pd.DataFrame:
    """The committed rows of an experiment; none where there are none yet."""
    path = folder / name / "results.csv"
    return _read(path, path.stat().st_mtime_ns).copy() if path.exists() else pd.DataFrame(columns=rows.COLUMNS)


@cache
def _read(path: Path, _changed: int) -> pd.DataFrame:
    return rows.read(path)


def markdown(verdicts: Iterable[Verdict]) -> str:
    """A table of verdicts, one row for each claim and kind of evidence."""
    together: dict[tuple, list[Verdict]] = {}
    for one in verdicts:
        together.setdefault((one.number, one.kind, one.evidence.experiments), []).append(one)
    lines = [
        [number, claimed()[number].statement, f"{kind}: {said(ones)}", evidence_text(ones)]
        for (number, kind, _), ones in together.items()
    ]
    return tables.markdown(["", "claim", "verdict", "ours"], lines).rstrip()
