"""What the papers claim about augmentations (A1 to A5), and what our rows say. One rule a claim, decided per seed.

python experiments/augmentation/claims.py
"""

from pathlib import Path

import pandas as pd

from equivariance.analysis.parts import MEASURES, PARTS, STRIDES, by_part, by_shift
from equivariance.analysis.verdicts import Verdict, by_rules, markdown
from equivariance.runs import rows

HERE = Path(__file__).resolve().parent
BASELINE = "none"
AUGMENTATIONS = (BASELINE, "crop", "flip", "cutmix", "randaugment")
VISIBLE = 0.02  # what would be seen in the papers' figures, whose scores lie in [0, 1]


def verdicts(results: pd.DataFrame) -> list[Verdict]:
    """A1 to A5, decided on the trained networks."""
    trained = results[results.trained.astype(bool)]
    rules = {
        "A1": (AUGMENTATIONS, dip_between_multiples),
        "A2": ((BASELINE, "crop", "randaugment"), shifting_raises),
        "A3": ((BASELINE, "flip"), flips_change_nothing),
        "A4": ((BASELINE, "cutmix"), cutmix_lowers),
        "A5": (AUGMENTATIONS, no_gap),
    }
    return by_rules(rules, trained, "aug")


def peaks(results: pd.DataFrame, group: str) -> pd.Series:
    """How far a multiple of the stride k stands above its surroundings, by part, shift s, measure, `group`, seed.

    v(s) - (v(s - k / 2) + v(s + k / 2)) / 2 for s = k, 2 k, ...; a score that falls steadily with the shift has 0.
    """
    curves = by_shift(results, group).pivot_table(
        index=["measure", "part", group, "seed"], columns="shift", values="value"
    )
    found = {}
    for part in ("middle", "late"):
        stride = STRIDES[part]
        v = curves[curves.index.get_level_values("part") == part]
        for shift in range(stride, max(v.columns) - stride // 2 + 1, stride):
            around = (v[shift - stride // 2] + v[shift + stride // 2]) / 2
            found[part, shift] = (v[shift] - around).droplevel("part")
    return pd.concat(found, names=["part", "shift"])


def dip_between_multiples(results: pd.DataFrame) -> tuple[bool, str]:
    """A1: in middle and late, every multiple of the stride stands above its surroundings in every network."""
    above = peaks(results, "aug")
    text = []
    for part in ("middle", "late"):
        one = above[part].groupby(level=["aug"], sort=False).agg(["mean", lambda each: (each > 0).mean()])
        text.append(
            f"{part}: a multiple stands above its surroundings by "
            + ", ".join(f"{aug} {mean:.3f} ({share:.0%})" for aug, mean, share in one.itertuples())
        )
    return bool((above > 0).all()), "; ".join(text) + "; in brackets the share of multiples that do"


def differences(results: pd.DataFrame, aug: str) -> pd.DataFrame:
    """Score with an augmentation minus the baseline's: a row for each measure and part, a column for each seed."""
    scores = by_part(results, "aug").pivot_table(index=["measure", "part"], columns=["aug", "seed"], values="value")
    return (scores[aug] - scores[BASELINE]).dropna(axis=1, how="all")


def shifting_raises(results: pd.DataFrame) -> tuple[bool, str]:
    """A2: with either, both scores of middle, late and final are above the baseline's in every seed."""
    return moved(results, ("crop", "randaugment"), ("middle", "late", "final"), 1)


def cutmix_lowers(results: pd.DataFrame) -> tuple[bool, str]:
    """A4: both scores of the middle are below the baseline's in every seed."""
    return moved(results, ("cutmix",), ("middle",), -1)


def moved(results: pd.DataFrame, augs: tuple[str, ...], parts: tuple[str, ...], sign: int) -> tuple[bool, str]:
    """Whether both scores of these parts are above (sign 1) or below (-1) the baseline's in every seed."""
    found = {aug: differences(results, aug) for aug in augs}
    holds = all(
        (sign * table.loc[(measure, part)] > 0).all()
        for table in found.values()
        for measure in MEASURES
        for part in parts
    )
    return holds, "; ".join(f"{aug} minus {BASELINE}: {each_seed(table, parts)}" for aug, table in found.items())


def flips_change_nothing(results: pd.DataFrame) -> tuple[bool, str]:
    """A3: in no part do all seeds move the same way by more than 0.02."""
    table = differences(results, "flip")
    apart = table.min(axis=1).gt(VISIBLE) | table.max(axis=1).lt(-VISIBLE)
    return not apart.any(), f"flip minus {BASELINE}: {each_seed(table, PARTS)}"


def no_gap(results: pd.DataFrame) -> tuple[bool, str]:
    """A5: equivariance is above invariance by at most 0.02 in every part of every network."""
    scores = by_part(results, "aug").pivot_table(index=["aug", "seed", "part"], columns="measure", values="value")
    gap = scores.equivariance - scores.invariance
    largest = gap.groupby(level="part").max()
    text = "largest gap: " + ", ".join(f"{part} {largest[part]:.3f}" for part in PARTS)
    return bool((gap <= VISIBLE).all()), text


def each_seed(table: pd.DataFrame, parts: tuple[str, ...]) -> str:
    """The differences in words, a number for each seed."""
    return "; ".join(
        f"{measure} "
        + ", ".join(f"{part} {' '.join(f'{value:+.3f}' for value in table.loc[(measure, part)])}" for part in parts)
        for measure in MEASURES
    )


def main(folder: Path = HERE, verdicts=verdicts) -> None:
    print(markdown(verdicts(rows_of(folder))))


def rows_of(folder: Path) -> pd.DataFrame:
    """The rows of an experiment; none where it was not run."""
    file = folder / "results.csv"
    return rows.read(file) if file.exists() else pd.DataFrame(columns=rows.COLUMNS)


if __name__ == "__main__":
    main()
