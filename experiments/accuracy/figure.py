"""Thesis Fig. 13 / paper Fig. 4: accuracy against equivariance, and their rank correlation by part."""

import re
from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.errors import UserError
from equivariance.figures.style import Figure
from equivariance.names import BEFORE_POOLING, PARTS
from equivariance.study.figures import measured, plot_accuracy, plot_rank_correlation
from equivariance.study.rank_correlation import with_accuracy

SHOWN = {"before": "equivariance before pooling", "final": "equivariance, logits"}


def figures(folder: Path) -> dict[str, Figure]:
    """One dot a network, coloured by family (figure); rho where there are networks enough for one (rho)."""
    results = rows.of_last_epoch(measured(folder))
    results = results[rows.is_trained(results) & results.accuracy.notna()]
    if results.empty:
        raise UserError(f"{folder} has no rows of trained networks with an accuracy")
    title = f"{results.model.nunique()} networks trained by others, {results.images.max()} images"
    drawn, found = {"figure": plot_accuracy(points(results), SHOWN, "family", title=title)}, with_accuracy(results)
    if found.rho.notna().any():
        drawn["rho"] = plot_rank_correlation(
            found, PARTS, "Spearman's rho\nwith accuracy", f"{title}\nlines: 95 % intervals over networks"
        )
    return drawn


def points(results: pd.DataFrame) -> pd.DataFrame:
    """Equivariance before pooling and of the logits, and accuracy, one row a network and transformation."""
    scores = rows.by_part(results[results.score == "equivariance"])
    wide = scores.pivot_table(index=["model", "transform", "accuracy"], columns="part", values="value", sort=False)
    wide = wide.assign(before=wide[list(BEFORE_POOLING)].mean(axis=1)).reset_index()
    return wide.assign(family=wide.model.map(family))


def family(model: str) -> str:
    """Such as "mobilenet v1" of "mobilenet_v1_0.25_128"; of one author's networks that author."""
    return re.match(r"[a-z]+(_v\d)?", model)[0].replace("_", " ")
