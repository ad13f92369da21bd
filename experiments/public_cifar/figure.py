"""Published networks: equivariance under shifts by depth, a panel for each comparison."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.names import BEFORE_POOLING
from equivariance.study.figures import facets, measured


def figures(folder: Path, compared: Mapping[str, str]) -> dict[str, style.Figure]:
    """A panel for each comparison: trained networks in colours, the same ones untrained in grey behind them."""
    layers = rows.by_layer(measured(folder))
    layers = layers[(layers.score == "equivariance") & layers.part.isin(BEFORE_POOLING)]
    layers = layers.assign(prefix=layers.model.str.extract(f"^({'|'.join(compared)})", expand=False))
    figure, grid = facets(layers, draw, ("prefix", compared), each=1.05, sharex=True, sharey=True)
    grid[-1, 0].set_xlabel("relative depth, up to pooling")
    figure.supylabel("equivariance", fontsize=8)
    shown = layers[layers.prefix.notna()].model.nunique()
    figure.suptitle(f"{shown} networks trained by others, shifts of 1 to 16 pixels", fontsize=7.5)
    return {"figure": figure}


def draw(axes: style.Axes, layers: pd.DataFrame) -> None:
    """A curve for each network, named by what follows the prefix, in the order of the rows."""
    for model, look in style.looks(layers.model.unique()).items():
        named = {**look, "label": model.removeprefix(layers.prefix.iloc[0]).replace("_", "-")}
        for trained, one in layers[layers.model == model].groupby(rows.is_trained(layers)):
            line = named if trained else {"color": "0.75"}
            x = one["index"] / max(1, one["index"].max())
            axes.plot(x, one.value, lw=1, markevery=max(1, len(one) // 8), **line)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(ncols=2, loc="lower left", fontsize=6)
