"""Ten verdicts again from the committed files, by pandas and scipy alone: no code of the rules takes part."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
PAGE = (EXPERIMENTS / "README.md").read_text()
BODY = ["early", "middle", "late"]


def load(name, transform, over="image"):
    table = pd.read_csv(EXPERIMENTS / name / "results.csv", low_memory=False)
    table = table.merge(pd.read_csv(EXPERIMENTS / name / "results.runs.csv"), on="run")
    last = table.epoch.isna() | (table.epoch == table.epochs)
    table = table[table.trained & last & (table.over == over) & (table["transform"] == transform)]
    return table[table.similarity == "pearson"].assign(half=(table.high - table.value).clip(lower=0))


def parts(table, keys):
    return table.groupby([*keys, "index"])[["value", "half"]].mean().groupby(keys).mean()


def interval(difference, halves=(0,), level=0.95):
    error = np.sqrt(difference.var(ddof=1) / len(difference) + sum((half / 1.96) ** 2 for half in halves))
    half = stats.t.ppf((1 + level) / 2, len(difference) - 1) * error
    return difference.mean() - half, difference.mean() + half


def shown(number, kind, name, low, high, over="image"):
    """The interval stands on the page behind this case."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {number} | {kind} | ")]
    text = line.split(f"`{over}`:")[1].split("`: ")[0]
    found = text.split(f"{name} ")[1].split("[")[1].split("]")[0]
    assert [float(end) for end in found.split(", ")] == pytest.approx([low, high], abs=6e-4)
    return text.split(".")[0].strip()


def between(table, keys, one, other):
    """Paired by seed: the interval of the difference of two rows of a table by `keys` and seed."""
    by = parts(table, [*keys, "seed"])
    a, b = by.loc[one], by.loc[other]
    return interval(a.value - b.value, (a.half.mean(), b.half.mean()))


@pytest.mark.parametrize("part", ["early", "middle"])
@pytest.mark.parametrize("task", ["mnist6_rot_inv", "mnist6_rot_eq"])
def test_s3(task, part):
    table = load("symmetry", "rotation").query(f"part == '{part}' and score == 'equivariance'")
    assert (
        shown("S3", "full", f"{task}, equivariance, {part}", *between(table, ["dataset"], task, "mnist6"))
        == "contradicted"
    )


def test_s1():
    table = load("symmetry", "rotation").query("dataset == 'mnist6' and score == 'equivariance'")
    table = table[table.part.isin(BODY)].groupby(["seed", "index"]).value.mean()
    rho = table.groupby("seed").apply(lambda one: stats.spearmanr(range(7), one).statistic)
    shown("S1", "full", "mnist6, equivariance", *interval(rho))
    assert interval(rho, level=1 - 0.05 / 6)[1] < -0.1


def test_s2():
    table = load("symmetry", "rotation").query("dataset == 'mnist6_rot_inv' and score == 'invariance'")
    table = table[table["index"].isin([6, 7])]
    assert sorted(table.part.unique()) == ["late", "pool"]
    found = between(table, ["part"], "pool", "late")
    shown("S2", "full", "jump, mnist6_rot_inv, invariance", *found)
    assert found[0] > 0.02


def test_s4():
    table = load("symmetry", "rotation").query("dataset == 'mnist6' and part == 'middle'")
    by = parts(table, ["score", "seed"])
    found = interval(
        by.loc["equivariance"].value - by.loc["invariance"].value,
        [by.half["equivariance"].mean() - by.half["invariance"].mean()],
    )
    assert shown("S4", "full", "mnist6, middle", *found) == "holds" and found[0] > 0.1


def test_a1_and_a2_and_a3():
    table = load("augmentation_reduced", "translation").query("score == 'invariance'")
    middle = table[(table.aug == "crop") & (table.part == "middle")]
    middle = middle.assign(even=np.where(middle.element % 2 == 0, "even", "odd"))[middle.element < 16]
    table = table.assign(element=table.element.astype(int))
    shifted = pd.concat(
        [
            middle[middle.even == "even"],
            table[(table.aug == "crop") & (table.part == "middle") & (table.element % 2 == 1)].assign(even="odd"),
        ]
    )
    assert shown("A1", "reduced", "crop, middle, invariance", *between(shifted, ["even"], "even", "odd")) == "holds"
    final = table[table.part == "final"]
    assert shown("A2", "reduced", "crop, final, invariance", *between(final, ["aug"], "crop", "none")) == "holds"
    late = table[table.part == "late"]
    assert shown("A3", "reduced", "flip, late, invariance", *between(late, ["aug"], "flip", "none")) == "undecided"


def test_c1():
    table = load("capacity_reduced", "translation").query("score == 'invariance' and part == 'middle'")
    assert shown("C1", "reduced", "middle, invariance", *between(table, ["width"], 4, 1)) == "undecided"


def test_r2():
    """The headline is reversed: behind pooling the more accurate networks are less invariant."""
    table = load("public_imagenet", "rotation").query("part == 'pool' and score == 'invariance'")
    by = table.groupby("model")[["value", "accuracy"]].mean()
    rho, p = stats.spearmanr(by.value, by.accuracy)
    (line,) = [line for line in PAGE.splitlines() if line.startswith("| R2 | public | ")]
    assert f"pool, invariance {rho:+.3f}" in line and "`image`: contradicted" in line and rho < 0 and p < 0.05
