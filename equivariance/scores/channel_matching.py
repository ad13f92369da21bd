"""Which channel takes the place of which one when the image is transformed, and whether that map is a group's.

Olah et al., "Naturally Occurring Equivariance in Neural Networks" (Distill 2020), found by hand that channels of a
trained network are transformed copies of each other. Here: the partner of channel c under g is

    p_g(c) = argmax over c' of r[g, c, c'],

the channel of the image whose transformed map is most like channel c of the transformed image. As
f(T_g T_h x)_c ~ T_g f(T_h x)_{p_g(c)} ~ T_g T_h f(x)_{p_h(p_g(c))}, a layer that is equivariant has

    p_gh(c) = p_h(p_g(c)).
"""

from collections.abc import Iterable
from itertools import product
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

if TYPE_CHECKING:
    from equivariance.scores.metric import Equivariance

THRESHOLD = 0.5  # of the correlation, from which on two maps count as the same


def partners(layer: str, index: int, transform: str, element: float | str, r: Tensor) -> pd.DataFrame:
    """One row per live channel: its partner, their correlation, and the channel's correlation with itself.

    Args:
        transform, element: name and element of g; other transformations may have the same element.
        r: (c, c), rows f(T_g x), columns T_g f(x); NaN for dead channels.
    """
    own = r.diagonal()
    live = (~own.isnan()).nonzero().flatten()
    best = r[live].nan_to_num(-2).max(1)
    columns = {"channel": live, "partner": best.indices, "r": best.values, "own": own[live]}
    table = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
    return table.assign(layer=layer, index=index, transform=transform, element=element)[
        ["layer", "index", "transform", "element", "channel", "partner", "r", "own"]
    ]


def shares(table: pd.DataFrame, threshold: float = THRESHOLD) -> pd.DataFrame:
    """For each layer and transformation, the shares of live channels: invariant, with another partner, with none.

    Invariant: r[c, c] reaches the threshold; a partner: another channel does.
    """
    invariant = table.own >= threshold
    partner = ~invariant & (table.r >= threshold)
    kinds = table.assign(invariant=invariant, partner=partner, none=~invariant & ~partner)
    return (
        kinds.groupby(["index", "layer", "transform", "element"], sort=False)[["invariant", "partner", "none"]]
        .mean()
        .reset_index()
    )


def composition(table: pd.DataFrame, threshold: float = THRESHOLD) -> pd.DataFrame:
    """How often the partners of two rotations compose to that of their sum, p_gh(c) = p_h(p_g(c)).

    Counted are channels whose partners along the way all reach the threshold. Only rotations by degrees compose
    here, those of one name with each other; 360 degrees are the identity, p(c) = c.

    Returns:
        One row per layer and transformation with at least one such pair: `pairs`, how many, and `agree`, the share
        that compose.
    """
    columns = ["index", "layer", "transform"]
    rows = []
    for names, one in table[table.r >= threshold].groupby(columns, sort=False):
        degrees = sorted(int(element) for element in one.element.unique() if isinstance(element, Integral))
        p = {g: dict(zip(of.channel, of.partner, strict=True)) for g, of in one.groupby("element")}
        p[0] = {channel: channel for channel in one.channel}
        agree = [
            p[(g + h) % 360][c] == p[h][middle]
            for g, h in product(degrees, degrees)
            for c, middle in p.get(g, {}).items()
            if middle in p.get(h, {}) and c in p.get((g + h) % 360, {})
        ]
        if agree:
            found = {"pairs": len(agree), "agree": sum(agree) / len(agree)}
            rows.append(dict(zip(columns, names, strict=True)) | found)
    return pd.DataFrame(rows, columns=[*columns, "pairs", "agree"])


def strongest(table: pd.DataFrame, count: int) -> Iterable[pd.DataFrame]:
    """The `count` strongest orbits: channels with another channel as partner, by their smallest correlation over G.

    Each is a table of one channel's rows, one a transformation; a channel that is dead under one of them has none.
    Orbits that share channels are shown once.
    """
    elements = len(table[["transform", "element"]].drop_duplicates())
    channels = [one for _, one in table.groupby(["index", "layer", "channel"])]
    orbits = [one for one in channels if len(one) == elements and (one.partner != one.channel).any()]
    seen: set[tuple[int, frozenset[int]]] = set()
    for orbit in sorted(orbits, key=lambda one: -one.r.min()):
        key = (orbit["index"].iloc[0], frozenset([*orbit.channel, *orbit.partner]))
        if key not in seen and len(seen) < count:
            seen.add(key)
            yield orbit


def orbits(metric: "Equivariance", images: Tensor, count: int = 4) -> list[dict[str, Any]]:
    """The strongest orbits of a measured network, with their feature maps on one image.

    Args:
        images: one normalised image, (1, c, h, w).

    Returns:
        For each orbit `layer`, `channel`, `partners`, `r`, and as arrays (elements, h, w) `copies`, the channel on
        the transformed images, and `moved`, its partners on the image itself, transformed.
    """
    transforms = metric.transforms
    maps = metric.maps(images, transforms)

    def array(each: list[Tensor]) -> np.ndarray:
        return torch.stack([one if one.ndim == 2 else one.reshape(1, 1) for one in each]).float().cpu().numpy()

    found = []
    for orbit in strongest(metric.partners(), count):
        layer, channel = orbit.layer.iloc[0], int(orbit.channel.iloc[0])
        original, *copies = maps[layer]
        spatial = original.ndim == 3 and original[0].numel() > 1
        moved = [g.act(original[None])[0] if spatial else original for g in transforms]
        pairs = zip(moved, orbit.partner, strict=True)
        found.append(
            {
                "layer": layer,
                "channel": channel,
                "copies": array([copy[channel] for copy in copies]),
                "moved": array([each[partner] for each, partner in pairs]),
                "partners": [int(partner) for partner in orbit.partner],
                "r": list(orbit.r),
            }
        )
    return found
