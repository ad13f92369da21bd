"""M1 under every reading: does a score follow the activation of the blocks, and is anything left without depth?"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from equivariance import rows
from equivariance.figures.compare import plot_compare
from equivariance.figures.style import Figure
from equivariance.names import SIMILARITIES
from equivariance.study.tables import markdown

READINGS = {  # the transformation of the rows, and the score
    "invariance, f(T x) and T f(x)": ("rotation", "invariance"),
    "invariance, f(T x) and f(x)": ("unaligned rotation", "invariance"),
    "equivariance": ("rotation", "equivariance"),
}
OVER = ("image", "dataset", "image_max")
ACTIVATIONS = {"mean": "mean", "rms": "root mean square"}


def figures(folder: Path) -> dict[str, Figure]:
    """All networks by both similarities."""
    results = rows.of_first_over(rows.read(folder / "results.csv"))
    return {"figure": plot_compare([results[results["transform"] == "rotation"]], title=folder.name)}


def correlations(scores: pd.DataFrame, activations: pd.DataFrame) -> pd.DataFrame:
    """Pearson's correlation, over residual blocks, of score and activation; and the partial one, depth taken out.

    Returns:
        Columns reading, over, similarity, activation, model, r, partial.
    """
    blocks = scores[scores.layer.str.startswith("block")].merge(activations, on=["model", "layer"])
    keys = ["transform", "score", "over", "similarity", "model"]
    found = []
    for key, one in blocks.groupby(keys, sort=False):
        names = [name for name, reading in READINGS.items() if reading == key[:2]]
        for reading, activation in product(names, ACTIVATIONS):
            r, with_depth, depth = (
                np.corrcoef(a, b)[0, 1]
                for a, b in (
                    (one.value, one[activation]),
                    (one.value, one["index"]),
                    (one[activation], one["index"]),
                )
            )
            partial = (r - with_depth * depth) / ((1 - with_depth**2) * (1 - depth**2)) ** 0.5
            found.append([reading, *key[2:4], activation, key[4], r, partial])
    return pd.DataFrame(found, columns=["reading", "over", "similarity", "activation", "model", "r", "partial"])


def page(folder: Path) -> str:
    """A line for each reading: the correlation in each network, in brackets the partial one."""
    scores = rows.read(folder / "results.csv").drop(columns="activation")
    found = correlations(scores, pd.read_csv(folder / "activations.csv")[["model", "layer", "mean", "rms"]])
    found["cell"] = [f"{row.r:.2f} ({row.partial:.2f})" for row in found.itertuples()]
    keys = ["reading", "over", "similarity"]
    wide = found.groupby([*keys, "activation"], sort=False).cell.agg(", ".join).unstack()
    lines = [
        [*key, *(wide.loc[key].get(each, "–") for each in ACTIVATIONS)]
        for key in product(READINGS, OVER, SIMILARITIES)
        if key in wide.index
    ]
    networks = ", ".join(found.model.unique())
    return (
        f"Correlation over the 21 blocks of score and activation, in brackets with depth taken out (partial); "
        f"{networks}:\n\n{markdown([*keys, *ACTIVATIONS.values()], lines)}"
    )
