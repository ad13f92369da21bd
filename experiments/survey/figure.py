"""Both scores of the first and the last layer before pooling, one line a network, by family.

Families are what the table tells apart: the layout of the maps, and whether their stride grows with depth.
"""

from pathlib import Path

import pandas as pd

from equivariance.figures import style
from equivariance.names import SCORES
from equivariance.study.figures import facets, legend

TRANSFORMS = {"rotation": "quarter turn", "translation": "shift by 8 pixels"}
FAMILIES = ("channels first", "tokens, one stride", "tokens, stages")
ENDS = ("first", "last")


def figures(folder: Path) -> dict[str, style.Figure]:
    """A thin line for each network, a thick one for the median of them all, for both scores."""
    survey = pd.read_csv(folder / "survey.csv")
    survey = survey[survey.layers > 0]  # of the others one was refused, and one has no layer before pooling
    survey = survey.assign(kind=survey.apply(family, axis=1))
    both = pd.concat([survey.assign(transform=name) for name in TRANSFORMS])
    kinds = {kind: f"{kind}\n{count} networks" for kind in FAMILIES if (count := (survey.kind == kind).sum())}
    figure, _ = facets(both, draw, ("transform", TRANSFORMS), ("kind", kinds), 1.7, 0.9, sharex=True, sharey=True)
    legend(figure)
    figure.suptitle(f"{len(survey)} untrained networks, two photographs;\nfirst and last layer before pooling")
    return {"figure": figure}


def draw(axes: style.Axes, networks: pd.DataFrame) -> None:
    """The networks of a panel."""
    for score, look in style.looks(SCORES).items():
        columns = [f"{networks['transform'].iloc[0]}_{score}_{end}" for end in ENDS]
        axes.plot(ENDS, networks[columns].to_numpy().T, color=look["color"], lw=0.4, alpha=0.25)
        axes.plot(ENDS, networks[columns].median(), lw=1.8, label=f"{score} (median)", **look)
    axes.set_xlim(-0.25, 1.25)
    axes.set_ylim(-0.02, 1.02)


def family(row: pd.Series) -> str:
    """Channels first; tokens or channels last, at one stride throughout, or in stages of growing stride."""
    if set(row.kinds.split(", ")) <= {"n c h w"}:
        return FAMILIES[0]
    return FAMILIES[1 if len(row.strides.split()) == 1 else 2]
