"""Scores by part of the network, as the papers group them, and shift by shift."""

import pandas as pd

STRIDES = {"early": 1, "middle": 2, "late": 4}  # of the maps in the thirds of CIFAR's ResNets


def by_part(results: pd.DataFrame, group: str) -> pd.DataFrame:
    """Mean over elements for each layer, then over the layers of a part.

    Args:
        group: the column that tells the networks apart, besides the seed: "aug", "width".

    Returns:
        Rows of `group`, seed, part, measure and value.
    """
    layers = results.groupby([group, "seed", "index", "part", "score"], dropna=False).value.mean()
    return layers.groupby([group, "seed", "part", "score"], dropna=False).mean().reset_index()


def by_shift(results: pd.DataFrame, group: str) -> pd.DataFrame:
    """Mean over the layers of a part for each shift: rows of `group`, seed, part, measure, shift and value."""
    shifts = results.groupby([group, "seed", "part", "score", "element"]).value.mean().reset_index()
    return shifts.assign(element=shifts.element.astype(int)).rename(columns={"element": "shift"})


def peaks(results: pd.DataFrame, group: str) -> pd.Series:
    """How far a multiple of the stride k stands above its surroundings, by part, shift s, measure, `group`, seed.

    v(s) - (v(s - k / 2) + v(s + k / 2)) / 2 for s = k, 2 k, ...; a score that falls steadily with the shift has 0.
    """
    curves = by_shift(results, group).pivot_table(
        index=["score", "part", group, "seed"], columns="shift", values="value"
    )
    found = {}
    for part in ("middle", "late"):
        stride = STRIDES[part]
        v = curves[curves.index.get_level_values("part") == part]
        for shift in range(stride, max(v.columns) - stride // 2 + 1, stride):
            around = (v[shift - stride // 2] + v[shift + stride // 2]) / 2
            found[part, shift] = (v[shift] - around).droplevel("part")
    return pd.concat(found, names=["part", "shift"])
