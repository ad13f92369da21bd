"""What decides the claims about pretrained architectures (I1 to I7).

Scores are averaged over elements, then over the layers of a part.
"""

import pandas as pd

from equivariance.names import BEFORE_POOLING, PARTS, SCORES
from equivariance.rows import by_part
from equivariance.study.verdicts.rules import Evidence, Outcome, Rule

EFFICIENTNETS = ["efficientnet_b6", "efficientnet_b7"]
CNNS = [*EFFICIENTNETS, "resnext101_32x8d", "inception_v3"]
MIXING = ["vit_b16", "mixer_b16"]  # of patches
SIX = CNNS + MIXING
SAME = 0.05  # a difference of scores up to which they count as equal


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Scores by (score, part), one column a network."""
    return by_part(results).pivot_table(index=["score", "part"], columns="model", values="value")


def gaps(results: pd.DataFrame) -> pd.DataFrame:
    """Equivariance minus invariance by part, one column a network."""
    scores = table(results)
    return (scores.loc["equivariance"] - scores.loc["invariance"])[SIX]


def shown(scores: pd.DataFrame, score: str, part: str) -> str:
    """All networks with their score, highest first."""
    ordered = scores.loc[score, part][SIX].sort_values(ascending=False)
    return f"{part} {score} " + ", ".join(f"{name} {value:.2f}" for name, value in ordered.items())


def below_all(scores: pd.DataFrame, score: str, part: str) -> bool:
    """Whether ViT and Mixer are below every CNN."""
    return bool(scores.loc[score, part][MIXING].max() < scores.loc[score, part][CNNS].min())


def mixing_lowest(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    scores = table(results)
    cases = {(score, part): below_all(scores, score, part) for score in SCORES for part in ("early", "middle")}
    return Outcome(cases, "; ".join(shown(scores, "invariance", part) for part in ("early", "middle")))


def efficientnets_highest(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    scores = table(results)
    others = [name for name in SIX if name not in EFFICIENTNETS]
    cases = {
        (score, part): bool(scores.loc[score, part][EFFICIENTNETS].min() > scores.loc[score, part][others].max())
        for score in SCORES
        for part in PARTS
    }
    return Outcome(cases, f"both highest in {sum(cases.values())} of {len(cases)} parts and scores")


def mixing_reaches_cnns(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    scores = table(results)
    final = scores.loc["invariance", "final"]
    return Outcome(
        {(name,): bool(final[name] >= final[CNNS].min()) for name in MIXING}, shown(scores, "invariance", "final")
    )


def no_gap(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    gap = gaps(results)
    part, name = gap.stack().idxmax()
    cases = {(network, each): bool(gap[network][each] <= SAME) for network in SIX for each in gap.index}
    return Outcome(cases, f"largest difference {gap[name][part]:.2f}, {name} {part}")


def mixing_below_and_vit_first(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    scores = table(results)
    cases = {
        (f"below before pooling, {score}", part): below_all(scores, score, part)
        for score in SCORES
        for part in BEFORE_POOLING
    }
    cases |= {
        ("ViT highest after", score): scores.loc[score, "final"][SIX].idxmax() == "vit_b16" for score in SCORES
    }
    return Outcome(cases, "; ".join(shown(scores, "equivariance", part) for part in ("early", "late", "final")))


def gap_largest_early(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    gap = gaps(results)
    mean = gap.mean(axis=1)[list(BEFORE_POOLING)]
    widest = set(gap.loc["early"].nlargest(2).index)
    cases = {
        ("largest early",): mean.idxmax() == "early",
        ("almost nothing late",): bool(mean["late"] <= SAME),
        ("ResNeXt-101 and Inception-v3 most",): widest == {"resnext101_32x8d", "inception_v3"},
    }
    text = ", ".join(f"{part} {value:.2f}" for part, value in mean.items())
    return Outcome(cases, f"mean gap {text}; widest early: {', '.join(sorted(widest))}")


def ranks_reverse(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    ranks = table(results)[SIX].rank(axis=1, ascending=False).swaplevel()
    before, end = ranks.loc[list(BEFORE_POOLING)].mean(), ranks.loc["final"].mean()
    risers = ["vit_b16", *EFFICIENTNETS]
    cases = {
        ("ViT and EfficientNets rise",): bool(before[risers].mean() > 3.5 > end[risers].mean()),
        ("Inception-v3 falls",): bool(before["inception_v3"] < 3.5 < end["inception_v3"]),
    }
    text = ", ".join(f"{name} {before[name]:.1f} to {end[name]:.1f}" for name in SIX)
    return Outcome(cases, f"mean rank before pooling and in the logits: {text}")


RULES = [
    Rule("I1", "both below every CNN, in both parts and scores", mixing_lowest, "translation"),
    Rule("I2", "both above every other network, in all parts and scores", efficientnets_highest, "translation"),
    Rule("I3", "neither is below the lowest CNN", mixing_reaches_cnns, "translation"),
    Rule("I4", "in every network and part they differ by at most 0.05", no_gap, "translation"),
    Rule(
        "I5",
        "both below every CNN in every part before pooling, ViT the highest in the logits; for both scores",
        mixing_below_and_vit_first,
        "rotation",
    ),
    Rule(
        "I6",
        "mean gap over networks largest early and at most 0.05 late; the largest early gaps are those two's",
        gap_largest_early,
        "rotation",
    ),
    Rule(
        "I7",
        "mean rank (1 the highest, over both scores) of ViT and the EfficientNets in the lower half before "
        "pooling, in the upper half of the logits; that of Inception-v3 the other way round",
        ranks_reverse,
        "rotation",
    ),
]
