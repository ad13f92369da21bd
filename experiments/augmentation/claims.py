"""What decides the claims about augmentations (A1 to A5), seed by seed."""

import pandas as pd

from equivariance.names import PARTS, SCORES
from equivariance.study.verdicts.parts import by_part, peaks
from equivariance.study.verdicts.rules import Evidence, Outcome, Rule

VISIBLE = 0.02  # what would be seen in the papers' figures, whose scores lie in [0, 1]


def dip_between_multiples(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    above = peaks(results, "aug")
    cases, text = {}, []
    for part in ("middle", "late"):
        one = above[part].groupby(level="aug", sort=False).agg(["mean", lambda each: (each > 0).mean()])
        cases |= {(part, aug): share == 1 for aug, _, share in one.itertuples()}
        text.append(
            f"{part} " + ", ".join(f"{aug} {mean:.3f} ({share:.0%})" for aug, mean, share in one.itertuples())
        )
    head = "a multiple stands above its surroundings by (share of multiples that do): "
    return Outcome(cases, head + "; ".join(text))


def differences(results: pd.DataFrame, aug: str, baseline: str) -> pd.DataFrame:
    """Score with an augmentation minus the baseline's: a row for each score and part, a column for each seed."""
    scores = by_part(results, "aug").pivot_table(index=["score", "part"], columns=["aug", "seed"], values="value")
    return (scores[aug] - scores[baseline]).dropna(axis=1, how="all")


def each_seed(table: pd.DataFrame, parts: tuple[str, ...]) -> str:
    """The differences in words, a number for each seed."""
    return "; ".join(
        f"{score} "
        + ", ".join(f"{part} {' '.join(f'{value:+.3f}' for value in table.loc[(score, part)])}" for part in parts)
        for score in SCORES
    )


def shifting_raises(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    parts, cases, text = ("middle", "late", "final"), {}, []
    for aug in ("crop", "randaugment"):
        table = differences(results, aug, evidence.baseline)
        cases |= {(aug, part, score): (table.loc[(score, part)] > 0).all() for part in parts for score in SCORES}
        text.append(f"{aug} minus {evidence.baseline}: {each_seed(table, parts)}")
    return Outcome(cases, "; ".join(text))


def flips_change_nothing(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    table = differences(results, "flip", evidence.baseline)
    apart = table.min(axis=1).gt(VISIBLE) | table.max(axis=1).lt(-VISIBLE)
    cases = {(part, score): not apart[score, part] for part in PARTS for score in SCORES}
    return Outcome(cases, f"flip minus {evidence.baseline}: {each_seed(table, PARTS)}")


def cutmix_lowers(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    table = differences(results, "cutmix", evidence.baseline)
    cases = {(score,): (table.loc[(score, "middle")] < 0).all() for score in SCORES}
    return Outcome(cases, f"cutmix minus {evidence.baseline}: {each_seed(table, ('middle',))}")


def no_gap(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    scores = by_part(results, "aug").pivot_table(index=["aug", "seed", "part"], columns="score", values="value")
    gap = scores.equivariance - scores.invariance
    largest = gap.groupby(level=["part", "aug"], sort=False).max()
    cases = {(part, aug): largest[part, aug] <= VISIBLE for part in PARTS for aug in largest[part].index}
    return Outcome(cases, "largest gap: " + ", ".join(f"{part} {largest[part].max():.3f}" for part in PARTS))


RULES = [
    Rule(
        "A1",
        "in middle and late, every multiple of the stride stands above its surroundings in every network",
        dip_between_multiples,
        "translation",
    ),
    Rule(
        "A2",
        "with either, both scores of middle, late and final are above the baseline's in every seed",
        shifting_raises,
        "translation",
        needs=("crop", "randaugment"),
    ),
    Rule(
        "A3",
        "in no part do all seeds move the same way by more than 0.02",
        flips_change_nothing,
        "translation",
        needs=("flip",),
    ),
    Rule(
        "A4",
        "both scores of the middle are below the baseline's in every seed",
        cutmix_lowers,
        "translation",
        needs=("cutmix",),
    ),
    Rule(
        "A5",
        "equivariance is above invariance by at most 0.02 in every part of every network",
        no_gap,
        "translation",
    ),
]
