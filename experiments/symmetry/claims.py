"""What decides the claims about symmetry in the task (S1 to S4); scores averaged over the three turns."""

import pandas as pd
from scipy.stats import spearmanr, ttest_ind

from equivariance.names import BEFORE_POOLING, SCORES
from equivariance.rows import by_layer
from equivariance.study.verdicts.rules import Evidence, Outcome, Rule, spread

UPRIGHT, TURNED = "mnist6", ("mnist6_rot_inv", "mnist6_rot_eq")
TASKS = (UPRIGHT, *TURNED)
RATIO = 1.5  # from which on equivariance is "much larger" than invariance


def falls_with_depth(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    scores = by_layer(results)
    blocks = scores[scores.part.isin(BEFORE_POOLING)]
    rho = blocks.groupby(["score", "dataset", "seed"])[["index", "value"]].apply(
        lambda one: spearmanr(one["index"], one.value).statistic
    )
    ends = blocks.pivot_table(index="score", columns="index", values="value")
    cases = {(score, task): (rho[score, task] < 0).all() for score in SCORES for task in TASKS}
    text = [
        f"{score}: rho of score and depth {rho[score].min():.2f} to {rho[score].max():.2f}, below 0 in "
        f"{(rho[score] < 0).sum()} of {len(rho[score])} networks; mean {ends.loc[score].iloc[0]:.2f} in the first "
        f"block, {ends.loc[score].iloc[-1]:.2f} in the last"
        for score in SCORES
    ]
    return Outcome(cases, ". ".join(text))


def jumps_after_pooling(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    scores = by_layer(results)
    last = scores[scores.part.isin(BEFORE_POOLING)]["index"].max()
    keys = ["dataset", "score", "seed"]
    pooled, block = (
        one.set_index(keys).value for one in (scores[scores.part == "pool"], scores[scores["index"] == last])
    )
    jump = (pooled - block).sort_index()
    text = "pool minus the last block: " + ", ".join(
        f"{task} {score} {spread(jump[task, score])}" for task in TASKS for score in SCORES
    )
    return Outcome({(task, score): (jump[task, score] > 0).all() for task in TURNED for score in SCORES}, text)


def same_until_late(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    parts = by_layer(results).groupby(["part", "score", "dataset", "seed"]).value.mean()
    p = {
        (part, score, task): welch(parts[part, score, task], parts[part, score, UPRIGHT])
        for part in ("early", "middle")
        for score in SCORES
        for task in TURNED
    }
    mean = parts.groupby(level=[0, 1, 2]).mean()
    text = "Rot-Inv and Rot-Eq minus MNIST6: " + "; ".join(
        f"{part} {score} "
        + " and ".join(f"{mean[part, score, task] - mean[part, score, UPRIGHT]:+.3f}" for task in TURNED)
        for part in BEFORE_POOLING
        for score in SCORES
    )
    cases = {(score, part): all(p[part, score, task] >= 0.05 / len(p) for task in TURNED) for part, score, _ in p}
    return Outcome(cases, f"{text}; smallest of {len(p)} p-values before late {min(p.values()):.1g}")


def welch(a: pd.Series, b: pd.Series) -> float:
    """p-value of Welch's t-test that two sets of seeds have the same mean."""
    return ttest_ind(a, b, equal_var=False).pvalue


def gap_before_late(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    parts = by_layer(results).pivot_table(index=["part", "dataset", "seed"], columns="score", values="value")
    ratio = parts.equivariance / parts.invariance
    text = "equivariance / invariance: " + "; ".join(
        f"{part} " + ", ".join(f"{task} {spread(ratio[part, task])}" for task in TASKS) for part in BEFORE_POOLING
    )
    cases = {(part, task): (ratio[part, task] >= RATIO).all() for part in ("early", "middle") for task in TASKS}
    return Outcome(cases, text)


RULES = [
    Rule(
        "S1",
        "Spearman's rho of score and depth over the seven blocks is negative for each task, score and seed",
        falls_with_depth,
        "rotation",
    ),
    Rule(
        "S2",
        "for both turned tasks and both scores, pool is above the last block in every seed",
        jumps_after_pooling,
        "rotation",
    ),
    Rule(
        "S3",
        "in early and middle layers, no task differs from MNIST6 (Welch's t-test over seeds, p < 0.05 / 8)",
        same_until_late,
        "rotation",
    ),
    Rule(
        "S4",
        "in early and middle layers equivariance is at least 1.5 times invariance, for each task and seed",
        gap_before_late,
        "rotation",
    ),
]
