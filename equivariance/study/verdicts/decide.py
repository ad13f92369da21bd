"""From measured differences to an answer: intervals over seeds and images, Holm's correction, four outcomes.

A case is one number and the range in which a claim puts it. It holds where the whole 95 % interval lies in that
range, is contradicted where it lies outside as a whole, and is undecided otherwise. For a claim of equality the
range is what is too small to matter, so that this is the pair of one-sided tests of Schuirmann (1987).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, sqrt
from typing import Any

import numpy as np
from scipy import stats

from equivariance.study.rank_correlation import RESAMPLES, percentiles, ranks_correlate

ALPHA = 0.05
FEWEST = 6  # networks for a rank correlation, as in the papers
ANSWERS = {True: "holds", False: "contradicted", None: "undecided"}
Interval = Callable[[float], tuple[float, float]]  # from the level alpha to its ends


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, or with `inside=False` everything beyond."""

    low: float
    high: float
    inside: bool = True

    def answer(self, low: float, high: float) -> bool | None:
        """Whether what lies between low and high is in the range; None: in part, or perhaps."""
        within, apart = self.low <= low and high <= self.high, high < self.low or low > self.high
        return self.inside if within else not self.inside if apart else None

    def __str__(self) -> str:
        if not self.inside:
            return f"below {self.low:g} or above {self.high:g}"
        if inf in (-self.low, self.high):
            return f"at most {self.high:g}" if self.low == -inf else f"at least {self.low:g}"
        return f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Case:
    """What a claim says of one part, score or network.

    Attributes:
        name: such as "invariance, late".
        estimate: the number, NaN where there are no rows.
        count: of units (seeds or networks) behind it.
        interval: its ends at a level; -inf and inf where the units are too few.
        expected: where the claim puts it.
        primary: whether it votes.
    """

    name: str
    estimate: float
    count: int
    interval: Interval
    expected: Range
    primary: bool = True

    @property
    def text(self) -> str:
        """Its number, such as "invariance, late +0.120 [0.030, 0.210], n = 3"."""
        if np.isnan(self.estimate):
            return f"{self.name}: no rows"
        low, high = self.interval(ALPHA)
        ends = f" [{low:.3f}, {high:.3f}]" if np.isfinite(low) and low != high else ""
        return f"{self.name} {self.estimate:+.3f}{ends}, n = {self.count}"

    def answer(self, alpha: float) -> bool | None:
        return None if np.isnan(self.estimate) else self.expected.answer(*self.interval(alpha))


@dataclass(frozen=True)
class Outcome:
    """The answers of all cases of a claim: True, False, or None where the rows cannot tell."""

    answers: Mapping[Case, bool | None]
    parts: bool = False  # whether the claim names several parts, of which some may hold and others not
    why: str = ""  # nothing was decided

    @cached_property
    def voting(self) -> dict[Case, str]:
        """The primary cases and their answers in words."""
        return {case: ANSWERS[answer] for case, answer in self.answers.items() if case.primary}

    @property
    def state(self) -> str:
        """holds, contradicted, partly, undecided or not run."""
        if all(np.isnan(case.estimate) for case in self.voting):
            return "not run"
        answers = {*self.voting.values()}
        if answers == {"holds"}:
            return "holds"
        if {"holds", "contradicted"} <= answers and self.parts:
            return "partly"
        return "contradicted" if "contradicted" in answers else "undecided"

    def __str__(self) -> str:
        """How many primary cases have the answer that decides, and the first of these that has rows."""
        if self.state == "not run":
            return self.why or "no rows yet"
        texts = []
        for word in ("holds", "contradicted") if self.state == "partly" else (self.state,):
            cases = [case for case, answer in self.voting.items() if answer == word]
            count = f" {len(cases)} of {len(self.voting)}" if len(self.voting) > 1 else ""
            first = next((case for case in cases if not np.isnan(case.estimate)), cases[0])
            texts.append(f"{word}{count}: {first.text}")
        return "; ".join(texts)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All cases: a row each."""
        for case, answer in self.answers.items():
            low, high = case.interval(ALPHA)
            said = "no rows" if np.isnan(case.estimate) else ANSWERS[answer]
            place = {"case": case.name, "votes": case.primary, "answer": said, "expected": str(case.expected)}
            yield place | {"estimate": case.estimate, "low": low, "high": high, "n": case.count}


def decided(cases: Sequence[Case], parts: bool = False) -> Outcome:
    """The answers of all cases, the primary ones corrected as Holm (1979) does.

    With k cases still open each is tested at ALPHA / k; those that are answered leave, until no further one is.
    """
    answers: dict[Case, bool | None] = {case: None if case.primary else case.answer(ALPHA) for case in cases}
    remaining = [case for case in cases if case.primary]
    while remaining:
        found = {case: case.answer(ALPHA / len(remaining)) for case in remaining}
        if all(answer is None for answer in found.values()):
            break
        answers |= found
        remaining = [case for case, answer in found.items() if answer is None]
    return Outcome(answers, parts)


def over_units(values: Sequence[float], images: float, most: float = inf) -> Interval:
    """Student's interval of the mean over seeds or networks; `images` is its standard error over images.

    Its ends are at most `most` from 0, as those of correlations are. All units see the same images, so that error
    does not shrink with their number: the two variances add up.
    """
    found = np.asarray(values, float)

    def ends(alpha: float) -> tuple[float, float]:
        if len(found) < 2:
            return -inf, inf
        error = sqrt(found.var(ddof=1) / len(found) + images**2)
        half = stats.t.ppf(1 - alpha / 2, len(found) - 1) * error
        return max(found.mean() - half, -most), min(found.mean() + half, most)

    return ends


def over_networks(x: np.ndarray, y: np.ndarray, minus: np.ndarray | None = None) -> tuple[float, Interval]:
    """Spearman's rho of x and y, less that of `minus` and y, and its percentile bootstrap over networks."""

    def rho(of: np.ndarray) -> np.ndarray:
        return ranks_correlate(x[of], y[of]) - (0 if minus is None else ranks_correlate(minus[of], y[of]))

    estimate = float(rho(np.arange(len(x)))) if len(x) > 2 else np.nan
    if len(x) < FEWEST:
        return estimate, lambda alpha: (-inf, inf)
    resampled = rho(np.random.default_rng(0).integers(len(x), size=(RESAMPLES, len(x))))
    return estimate, lambda alpha: percentiles(resampled, alpha, most=1 if minus is None else 2)
