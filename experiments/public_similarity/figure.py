"""M1 under every reading: does a score follow the activation of the blocks, and is anything left without depth?"""

from itertools import product
from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures.compare import plot_compare
from equivariance.figures.style import Figure
from equivariance.names import SIMILARITIES
from equivariance.study.figures import measured
from equivariance.study.tables import crossed

READINGS = {  # the transformation of the rows, and the score
    "invariance, f(T x) and T f(x)": ("rotation", "invariance"),
    "invariance, f(T x) and f(x)": ("unaligned rotation", "invariance"),
    "equivariance": ("rotation", "equivariance"),
}
OVER = ("image", "dataset", "image_max")
ACTIVATIONS = {"mean": "mean", "rms": "root mean square"}


def figures(folder: Path) -> dict[str, Figure]:
    """All networks by both similarities."""
    results = measured(folder)
    turned = results[results["transform"] == "rotation"]
    turned = turned.assign(model=turned.model.str.partition("_")[0])  # the author
    return {"figure": plot_compare([turned], title="Published ResNet-44")}


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
            r, with_depth, depth = one[["value", activation, "index"]].corr().to_numpy()[[0, 0, 1], [1, 2, 2]]
            partial = (r - with_depth * depth) / ((1 - with_depth**2) * (1 - depth**2)) ** 0.5
            found.append([reading, *key[2:4], activation, key[4], r, partial])
    return pd.DataFrame(found, columns=["reading", "over", "similarity", "activation", "model", "r", "partial"])


def page(folder: Path) -> str:
    """A line for each reading: the correlation in each network, in brackets the partial one."""
    scores = rows.read(folder / "results.csv").drop(columns="activation")
    found = correlations(scores, pd.read_csv(folder / "activations.csv")[["model", "layer", "mean", "rms"]])
    found["text"] = [f"{row.r:.2f} ({row.partial:.2f})" for row in found.itertuples()]
    keys = {"reading": [*READINGS], "over": OVER, "similarity": SIMILARITIES}
    cells = found.groupby([*keys, "activation"]).text.agg(", ".join).reset_index()
    networks = ", ".join(found.model.unique())
    return (
        f"Correlation over the 21 blocks of score and activation, in brackets with depth taken out (partial); "
        f"{networks}:\n\n{crossed(cells, keys, {'activation': ACTIVATIONS}, '{text}')}"
    )
