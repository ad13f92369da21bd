"""What the papers claim about symmetry in the task (S1 to S4), and what our rows say. One rule a claim.

python experiments/symmetry/claims.py
"""

import sys
from pathlib import Path

import pandas as pd
from scipy.stats import spearmanr

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
from equivariance import rows
from equivariance.verdicts import Verdict, markdown, spread

UPRIGHT, TURNED = "mnist6", ("mnist6_rot_inv", "mnist6_rot_eq")
TASKS = (UPRIGHT, *TURNED)
MEASURES = ("invariance", "equivariance")
BEFORE_POOLING = ("early", "middle", "late")


def verdicts(results: pd.DataFrame) -> list[Verdict]:
    """S1 to S4, decided on the trained networks, scores averaged over the three turns."""
    scores = rows.by_layer(results)
    scores = scores[scores.trained]
    return [falls_with_depth(scores), jumps_after_pooling(scores), same_until_late(scores), gap_before_late(scores)]


def falls_with_depth(scores: pd.DataFrame) -> Verdict:
    """S1: Spearman's rho of score and depth over the seven blocks is negative for each task, score and seed."""
    blocks = scores[scores.part.isin(BEFORE_POOLING)]
    rho = blocks.groupby(["dataset", "measure", "seed"]).apply(
        lambda one: spearmanr(one["index"], one.value).statistic, include_groups=False
    )
    ends = blocks[blocks.layer.isin(("block1", "block7"))].pivot_table(
        index="measure", columns="layer", values="value"
    )
    text = f"rho of score and depth from {rho.min():.2f} to {rho.max():.2f} over {len(rho)} curves; " + ", ".join(
        f"{measure} {ends.block1[measure]:.2f} in block 1, {ends.block7[measure]:.2f} in block 7"
        for measure in MEASURES
    )
    return Verdict(
        "S1", "Both scores fall with depth until global pooling, whatever the task", (rho < 0).all(), text
    )


def jumps_after_pooling(scores: pd.DataFrame) -> Verdict:
    """S2: for both turned tasks and both scores, pool is above the last block in every seed."""
    last = scores[scores.layer.isin(("block7", "pool"))]
    wide = last.pivot_table(index=["dataset", "measure", "seed"], columns="layer", values="value")
    jump = wide["pool"] - wide["block7"]
    text = "pool minus block 7: " + ", ".join(
        f"{task} {measure} {spread(jump[task, measure])}" for task in TASKS for measure in MEASURES
    )
    holds = all((jump[task, measure] > 0).all() for task in TURNED for measure in MEASURES)
    return Verdict("S2", "For Rot-Inv and Rot-Eq both scores jump after pooling", holds, text)


def same_until_late(scores: pd.DataFrame) -> Verdict:
    """S3: in early and middle layers, no task's mean is further from MNIST6's than two standard errors."""
    parts = scores.groupby(["part", "measure", "dataset", "seed"]).value.mean()
    mean, error = (parts.groupby(level=[0, 1, 2]).agg(kind) for kind in ("mean", "sem"))
    gaps = {}
    for part in BEFORE_POOLING:
        for measure in MEASURES:
            for task in TURNED:
                at, reference = (part, measure, task), (part, measure, UPRIGHT)
                gap = mean[at] - mean[reference]
                gaps[at] = (gap, abs(gap) <= 2 * (error[at] ** 2 + error[reference] ** 2) ** 0.5)
    text = "difference from MNIST6: " + "; ".join(
        f"{part} {measure} " + ", ".join(f"{gaps[part, measure, task][0]:+.3f}" for task in TURNED)
        for part in BEFORE_POOLING
        for measure in MEASURES
    )
    holds = all(same for (part, _, _), (_, same) in gaps.items() if part != "late")
    claim = "No difference between the tasks before the late layers"
    return Verdict("S3", claim, holds, text + " (Rot-Inv, Rot-Eq)")


def gap_before_late(scores: pd.DataFrame) -> Verdict:
    """S4: in early and middle layers equivariance is at least 1.5 times invariance, for each task and seed."""
    parts = scores.pivot_table(index=["part", "dataset", "seed"], columns="measure", values="value")
    ratio = parts.equivariance / parts.invariance
    text = "equivariance / invariance: " + "; ".join(
        f"{part} " + ", ".join(f"{task} {spread(ratio[part, task])}" for task in TASKS) for part in BEFORE_POOLING
    )
    holds = bool((ratio[["early", "middle"]] >= 1.5).all())
    claim = "Equivariance is much larger than invariance in the early and middle layers"
    return Verdict("S4", claim, holds, text)


if __name__ == "__main__":
    print(markdown(verdicts(rows.read(HERE / "results.csv"))))
