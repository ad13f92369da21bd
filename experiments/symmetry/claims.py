"""What the papers claim about symmetry in the task (S1 to S4), and what our rows say. One rule a claim.

python experiments/symmetry/claims.py
"""

from pathlib import Path

import pandas as pd
from scipy.stats import spearmanr, ttest_ind

from equivariance.analysis.verdicts import Verdict, markdown, not_run, spread, verdict
from equivariance.runs import rows

HERE = Path(__file__).resolve().parent

UPRIGHT, TURNED = "mnist6", ("mnist6_rot_inv", "mnist6_rot_eq")
TASKS = (UPRIGHT, *TURNED)
MEASURES = ("invariance", "equivariance")
BEFORE_POOLING = ("early", "middle", "late")


def verdicts(results: pd.DataFrame) -> list[Verdict]:
    """S1 to S4, decided on the trained networks, scores averaged over the three turns."""
    if results.empty:
        return not_run("S1", "S2", "S3", "S4")
    scores = rows.by_layer(results)
    scores = scores[scores.trained]
    return [falls_with_depth(scores), jumps_after_pooling(scores), same_until_late(scores), gap_before_late(scores)]


def falls_with_depth(scores: pd.DataFrame) -> Verdict:
    """S1: Spearman's rho of score and depth over the seven blocks is negative for each task, score and seed."""
    blocks = scores[scores.part.isin(BEFORE_POOLING)]
    rho = {
        key: spearmanr(one["index"], one.value).statistic
        for key, one in blocks.groupby(["measure", "dataset", "seed"])
    }
    ends = blocks.pivot_table(index="measure", columns="layer", values="value")
    text = []
    for measure in MEASURES:
        of_measure = [value for (name, _, _), value in rho.items() if name == measure]
        text.append(
            f"{measure}: rho of score and depth {min(of_measure):.2f} to {max(of_measure):.2f}, below 0 in "
            f"{sum(value < 0 for value in of_measure)} of {len(of_measure)} networks; "
            f"mean {ends.block1[measure]:.2f} in block 1, {ends.block7[measure]:.2f} in block 7"
        )
    return verdict("S1", all(value < 0 for value in rho.values()), ". ".join(text))


def jumps_after_pooling(scores: pd.DataFrame) -> Verdict:
    """S2: for both turned tasks and both scores, pool is above the last block in every seed."""
    last = scores[scores.layer.isin(("block7", "pool"))]
    wide = last.pivot_table(index=["dataset", "measure", "seed"], columns="layer", values="value")
    jump = wide["pool"] - wide["block7"]
    text = "pool minus block 7: " + ", ".join(
        f"{task} {measure} {spread(jump[task, measure])}" for task in TASKS for measure in MEASURES
    )
    holds = all((jump[task, measure] > 0).all() for task in TURNED for measure in MEASURES)
    return verdict("S2", holds, text)


def same_until_late(scores: pd.DataFrame) -> Verdict:
    """S3: in early and middle layers, no task differs from MNIST6 (Welch's t-test over seeds, p < 0.05 / 8)."""
    parts = scores.groupby(["part", "measure", "dataset", "seed"]).value.mean()
    p = {
        (part, measure, task): welch(parts[part, measure, task], parts[part, measure, UPRIGHT])
        for part in ("early", "middle")
        for measure in MEASURES
        for task in TURNED
    }
    mean = parts.groupby(level=[0, 1, 2]).mean()
    text = "Rot-Inv and Rot-Eq minus MNIST6: " + "; ".join(
        f"{part} {measure} "
        + " and ".join(f"{mean[part, measure, task] - mean[part, measure, UPRIGHT]:+.3f}" for task in TURNED)
        for part in BEFORE_POOLING
        for measure in MEASURES
    )
    smallest = f"; smallest of {len(p)} p-values before late {min(p.values()):.1g}"
    return verdict("S3", min(p.values()) >= 0.05 / len(p), text + smallest)


def welch(a: pd.Series, b: pd.Series) -> float:
    """p-value of Welch's t-test that two sets of seeds have the same mean."""
    return ttest_ind(a, b, equal_var=False).pvalue


def gap_before_late(scores: pd.DataFrame) -> Verdict:
    """S4: in early and middle layers equivariance is at least 1.5 times invariance, for each task and seed."""
    parts = scores.pivot_table(index=["part", "dataset", "seed"], columns="measure", values="value")
    ratio = parts.equivariance / parts.invariance
    text = "equivariance / invariance: " + "; ".join(
        f"{part} " + ", ".join(f"{task} {spread(ratio[part, task])}" for task in TASKS) for part in BEFORE_POOLING
    )
    holds = bool((ratio[["early", "middle"]] >= 1.5).all())
    return verdict("S4", holds, text)


if __name__ == "__main__":
    print(markdown(verdicts(rows.read(HERE / "results.csv"))))
