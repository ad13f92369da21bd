"""Which channel takes the place of which one when the image is transformed, and whether that map is a group's.

Olah et al., "Naturally Occurring Equivariance in Neural Networks" (Distill 2020), found by hand that channels of a
trained network are transformed copies of each other. Here: the partner of channel c under g is

    p_g(c) = argmax over c' of r[g, c, c'],

the channel of the image whose transformed map is most like channel c of the transformed image. As
f(T_g T_h x)_c ~ T_g f(T_h x)_{p_g(c)} ~ T_g T_h f(x)_{p_h(p_g(c))}, a layer that is equivariant has

    p_gh(c) = p_h(p_g(c)).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from equivariance.errors import UserError

if TYPE_CHECKING:
    from equivariance.metric.equivariance import Equivariance

THRESHOLD = 0.5  # of the correlation, from which on two maps count as the same


@dataclass(frozen=True)
class Orbit:
    """One channel on an image and its copies, and its partners on the image, of which the first is itself (r = 1).

    Attributes:
        copies: (h, w) for the image and for each element, the channel's map there, as it is compared.
        aligned: likewise the partner's map of the image itself.
        partners, r: numbers of the partner channels, and their correlations.
    """

    layer: str
    channel: int
    copies: Sequence[np.ndarray]
    aligned: Sequence[np.ndarray]
    partners: Sequence[int]
    r: Sequence[float]


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
    place = {"layer": layer, "index": index, "transform": transform, "element": element}
    return pd.DataFrame(place | {name: values.cpu().numpy() for name, values in columns.items()})


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """For each layer and transformation, the shares of live channels: invariant, with another partner, with none.

    Invariant: r[c, c] reaches `THRESHOLD`; a partner: another channel does.
    """
    invariant = table.own >= THRESHOLD
    partner = ~invariant & (table.r >= THRESHOLD)
    keys, kinds = ["index", "layer", "transform", "element"], ["invariant", "partner", "none"]
    table = table.assign(invariant=invariant, partner=partner, none=~invariant & ~partner)
    return table.groupby(keys, sort=False)[kinds].mean().reset_index()


def composition(table: pd.DataFrame) -> pd.DataFrame:
    """How often the partners of two rotations compose to that of their sum, p_gh(c) = p_h(p_g(c)).

    Counted are channels whose partners along the way all reach `THRESHOLD`. Only rotations by degrees compose
    here, those of one name with each other; 360 degrees are the identity, p(c) = c.

    Returns:
        One row per layer and transformation with at least one such pair: `pairs`, how many, and `agree`, the share
        that compose.
    """
    columns = ["index", "layer", "transform"]
    rows = []
    for names, one in table[table.r >= THRESHOLD].groupby(columns, sort=False):
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


def orbits(
    metric: "Equivariance",
    images: Tensor,
    table: pd.DataFrame | None = None,
    count: int = 4,
    layer: str | None = None,
    channel: int | None = None,
) -> list[Orbit]:
    """The strongest orbits of a measured network, with their feature maps on one image.

    Args:
        metric: gives the maps; without `table`, it must have measured images.
        images: one normalised image, (1, c, h, w).
        table: from `partners`; None: the metric's own.
        layer: of this layer alone.
        channel: of this channel of the layer alone, whatever its partners are.

    Raises:
        UserError: there is no such layer, or no such channel that is alive under every element.
    """
    table = metric.partners() if table is None else table
    if layer is not None and layer not in metric.layers:
        raise UserError(f"measure.partners.layer={layer}: choose {', '.join(metric.layers)}")
    chosen = table if layer is None else table[table.layer == layer]
    if channel is not None:
        one = chosen[chosen.channel == channel]
        if len(one) < len(metric.transforms):
            live = ", ".join(map(str, sorted(chosen.channel.unique())[:8]))
            raise UserError(f"measure.partners.channel={channel}: no live channel of {layer}; there is {live} ...")
    found = [one] if channel is not None else [*strongest(chosen, count)]
    maps = metric.maps(images, metric.transforms)
    return [_orbit(each, maps[each.layer.iloc[0]], metric) for each in found]


def _orbit(table: pd.DataFrame, maps: Tensor, metric: "Equivariance") -> Orbit:
    """The maps of one orbit, given those of all channels of its layer."""
    layer, channel, (original, *copies) = table.layer.iloc[0], int(table.channel.iloc[0]), maps[:, None]
    pairs = [(original[0, channel], original[0, channel])]
    for g, copy, partner in zip(metric.transforms, copies, table.partner, strict=True):
        aligned = g.align(copy, original, metric.layers[layer].stride) if copy.ndim == 4 else (copy, original)
        nothing = (torch.full_like(original[0, channel], torch.nan),) * 2
        pairs.append(nothing if aligned is None else (aligned[0][0, channel], aligned[1][0, int(partner)]))
    moved, still = ([torch.atleast_2d(x).float().cpu().numpy() for x in side] for side in zip(*pairs, strict=True))
    return Orbit(layer, channel, moved, still, [channel, *map(int, table.partner)], [1.0, *table.r])
