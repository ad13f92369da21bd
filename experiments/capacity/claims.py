"""What the papers claim about capacity (C1, C2), and what our rows say. One rule a claim, decided per seed.

python experiments/capacity/claims.py
"""

from pathlib import Path

import pandas as pd
from scipy.stats import spearmanr

from equivariance.analysis.parts import MEASURES, by_part
from equivariance.analysis.verdicts import Verdict, by_rules
from experiments.augmentation.claims import main

HERE = Path(__file__).resolve().parent
WIDTHS = (1, 2, 4, 8)
SAME = 0.05  # of scores in [0, 1]


def verdicts(results: pd.DataFrame, widths: tuple[int, ...] = WIDTHS) -> list[Verdict]:
    """C1 and C2, decided on the trained networks of these widths."""
    trained = results[results.trained.astype(bool) & results.width.isin(widths)]
    rules = {"C1": (widths, falls_with_width), "C2": (widths, same_at_the_end)}
    return by_rules(rules, trained, "width")


def scores_by_width(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each measure, part and seed, a column for each width."""
    return by_part(results, "width").pivot_table(index=["measure", "part", "seed"], columns="width", values="value")


def falls_with_width(results: pd.DataFrame) -> tuple[bool, str]:
    """C1: Spearman's rho of score and width is negative in early, middle and late, for each score and seed."""
    scores = scores_by_width(results)
    parts = ("early", "middle", "late")
    rho = {key: spearmanr(row.index, row).statistic for key, row in scores.iterrows() if key[1] in parts}
    text = []
    for measure in MEASURES:
        for part in parts:
            mean = scores.loc[(measure, part)].mean()
            below = [value < 0 for (name, where, _), value in rho.items() if (name, where) == (measure, part)]
            values = " ".join(f"{value:.3f}" for value in mean)
            text.append(f"{part} {measure} {values}, falls in {sum(below)} of {len(below)} seeds")
    names = ", ".join(f"{width:g}" for width in scores.columns)
    return all(value < 0 for value in rho.values()), f"widths {names}: " + "; ".join(text)


def same_at_the_end(results: pd.DataFrame) -> tuple[bool, str]:
    """C2: in every seed, the final scores of all widths lie within 0.05."""
    scores = scores_by_width(results)
    final = scores[scores.index.get_level_values("part") == "final"]
    span = final.max(axis=1) - final.min(axis=1)
    text = "largest minus smallest, by seed: " + "; ".join(
        f"{measure} {' '.join(f'{value:.3f}' for value in span[measure])}" for measure in MEASURES
    )
    return bool((span <= SAME).all()), text


if __name__ == "__main__":
    main(HERE, verdicts)
