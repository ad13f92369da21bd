"""Thesis Fig. 11 and 12 / paper Fig. 7: the scores of each network by part."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.names import BEFORE_POOLING, PARTS, SCORES
from equivariance.study.figures import facets, legend, measured

FEWEST = 16  # images for a point behind pooling, where each gives a single value
TRANSFORMS = {"translation": "shifts", "relative translation": "relative shifts", "rotation": "quarter turns"}
PLACES = {part: place + 0.4 * (part not in BEFORE_POOLING) for place, part in enumerate(PARTS)}


def figures(folder: Path, names: Mapping[str, str]) -> dict[str, style.Figure]:
    """One line for each network of `names`; pretrained ones, as soon as there are any."""
    results = measured(folder)
    trained = bool(results.trained.any())
    results = results[results.trained == trained]
    enough = results.part.isin(BEFORE_POOLING) | (results.images >= FEWEST)
    kind = "Pretrained" if trained else "Untrained controls"
    return {"figure": by_part(rows.by_part(results[enough]), names, f"{kind}, ImageNet photographs")}


def by_part(scores: pd.DataFrame, names: Mapping[str, str], title: str) -> style.Figure:
    """A panel for each transformation and score, a line for each network of `names`."""
    draw_networks = partial(draw, names=names)
    split = ("transform", TRANSFORMS), ("score", SCORES)
    figure, _ = facets(scores, draw_networks, *split, each=1.45, more=0.9, sharex=True, sharey=True)
    figure.suptitle(title, fontsize=7.5)
    legend(figure, "chance", fontsize=6.5)
    return figure


def draw(axes: style.Axes, panel: pd.DataFrame, names: Mapping[str, str]) -> None:
    """One line a network, and its chance level; pool and final apart from the parts before pooling."""
    for (model, name), look in zip(names.items(), style.looks(names).values(), strict=True):
        one = panel[panel.model == model].set_index("part").reindex(PARTS)
        for parts in (PARTS[:3], PARTS[3:]):
            x, part = [PLACES[each] for each in parts], one.loc[list(parts)]
            label = name if parts == PARTS[:3] and one.value.notna().any() else None
            axes.plot(x, part.value, label=label, **look)
            axes.plot(x, part.chance, color=look["color"], ls=":", lw=0.9)
    axes.set_xticks(list(PLACES.values()), PARTS, **style.SLANTED)
    axes.set_ylim(-0.02, 1.02)
