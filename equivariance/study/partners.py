"""Partner channels of a measurement: whether they form a group's action, kept in its folder, drawn.

The partner p_g(c) of channel c under g is that of `metric.partners`. As
f(T_g T_h x)_c ~ T_g f(T_h x)_{p_g(c)} ~ T_g T_h f(x)_{p_h(p_g(c))}, a layer that is equivariant has

    p_gh(c) = p_h(p_g(c)).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from equivariance.errors import UserError
from equivariance.figures import style
from equivariance.files import atomic_file, write_atomic
from equivariance.metric.equivariance import Equivariance
from equivariance.study.figures import save
from equivariance.study.runs.results import ANOTHER

THRESHOLD = 0.5  # of the correlation, from which on two maps count as the same
MOST = 4  # orbits that are drawn
PLACE = ["layer", "index", "transform", "element"]  # of a row of partner channels


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


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """For each layer and transformation, the shares of live channels: invariant, with another partner, with none.

    Invariant: r[c, c] reaches `THRESHOLD`; a partner: another channel does.
    """
    invariant = table.own >= THRESHOLD
    partner = ~invariant & (table.r >= THRESHOLD)
    kinds = {"invariant": invariant, "partner": partner, "none": ~invariant & ~partner}
    return table.assign(**kinds).groupby(PLACE, sort=False)[[*kinds]].mean().reset_index()


def composition(table: pd.DataFrame) -> pd.DataFrame:
    """How often the partners of two rotations compose to that of their sum, p_gh(c) = p_h(p_g(c)).

    Counted are channels whose partners along the way all reach `THRESHOLD`. Only rotations by degrees compose
    here, those of one name with each other; 360 degrees are the identity, p(c) = c.

    Returns:
        One row per layer and transformation with at least one such pair: `pairs`, how many, and `agree`, the share
        that compose.
    """
    place = ["index", "layer", "transform"]
    turns = table[(table.r >= THRESHOLD) & table.element.map(lambda element: isinstance(element, Integral))]
    turns = turns[[*place, "element", "channel", "partner"]]
    none = turns.assign(element=0, partner=turns.channel).drop_duplicates()
    second = turns.rename(columns={"element": "then", "channel": "partner", "partner": "last"})
    pairs = turns.merge(second, on=[*place, "partner"])
    pairs["element"] = (pairs.element + pairs.then) % 360
    pairs = pairs.merge(pd.concat([turns, none]), on=[*place, "element", "channel"], suffixes=("", "_of_sum"))
    pairs["agree"] = pairs["last"] == pairs.partner_of_sum
    return pairs.groupby(place).agg(pairs=("agree", "size"), agree=("agree", "mean")).reset_index()


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
    metric: Equivariance, images: Tensor, table: pd.DataFrame, layer: str | None = None, channel: int | None = None
) -> list[Orbit]:
    """The `MOST` strongest orbits of a measured network, with their feature maps on one image.

    Args:
        metric: gives the maps; it need not have measured any images.
        images: one normalised image, (1, c, h, w).
        table: from `Equivariance.partners`.
        layer: of this layer alone.
        channel: of this channel of the layer alone, whatever its partners are.

    Raises:
        UserError: there is no such layer, or no such channel that is alive under every element.
    """
    if layer is not None and layer not in metric.layers:
        raise UserError(f"measure.partners.layer={layer}: choose {', '.join(metric.layers)}")
    chosen = table if layer is None else table[table.layer == layer]
    if channel is None:
        found = [*strongest(chosen, MOST)]
    else:
        found = [chosen[chosen.channel == channel]]
        if len(found[0]) < len(metric.transforms):
            live = ", ".join(map(str, sorted(chosen.channel.unique())[:8]))
            raise UserError(f"measure.partners.channel={channel}: no live channel of {layer}; there is {live} ...")
    maps = metric.maps(images, metric.transforms)
    return [_orbit(each, maps[each.layer.iloc[0]], metric) for each in found]


def _orbit(table: pd.DataFrame, maps: Tensor, metric: Equivariance) -> Orbit:
    """The maps of one orbit, given those of all channels of its layer."""
    layer, channel, (original, *copies) = table.layer.iloc[0], int(table.channel.iloc[0]), maps[:, None]
    pairs = [(original[0, channel], original[0, channel])]
    for g, copy, partner in zip(metric.transforms, copies, table.partner, strict=True):
        aligned = g.align(copy, original, metric.layers[layer].stride) if copy.ndim == 4 else (copy, original)
        nothing = (torch.full_like(original[0, channel], torch.nan),) * 2
        pairs.append(nothing if aligned is None else (aligned[0][0, channel], aligned[1][0, int(partner)]))
    moved, still = ([torch.atleast_2d(x).float().cpu().numpy() for x in side] for side in zip(*pairs, strict=True))
    return Orbit(layer, channel, moved, still, [channel, *map(int, table.partner)], [1.0, *table.r])


def keep(found: pd.DataFrame, folder: Path) -> None:
    """Keep which channel matched which one in partners.npz, small enough to be kept of every measurement."""
    places = found[PLACE].drop_duplicates()
    codes = found.groupby(PLACE, sort=False).ngroup()
    columns: dict[str, Any] = {name: found[name].to_numpy(np.int32) for name in ("channel", "partner")}
    columns |= {name: found[name].to_numpy(np.float32) for name in ("r", "own")}
    columns |= {"places": np.array(places.to_json(orient="values")), "code": codes.to_numpy(np.int32)}
    with atomic_file(folder / "partners.npz") as file:
        np.savez_compressed(file, **columns)


def kept(folder: Path) -> pd.DataFrame:
    """What `keep` has kept of a measurement."""
    file = folder / "partners.npz"
    try:
        with np.load(file, allow_pickle=False) as kept:
            places = pd.DataFrame(json.loads(str(kept["places"])), columns=PLACE, dtype=object)
            of_channels = pd.DataFrame({name: kept[name] for name in ("channel", "partner", "r", "own")})
            rows_of = places.iloc[kept["code"]].reset_index(drop=True)
    except Exception as error:  # garbage makes the reader raise anything
        what = "is damaged" if file.exists() else "is not there: an older measurement did not keep it"
        raise UserError(f"{file} {what}; {ANOTHER}") from error
    return pd.concat([rows_of.astype({"index": int}), of_channels], axis=1)


@style.styled
def draw_orbits(
    found: Sequence[Orbit], elements: Sequence, title: str, images: np.ndarray | None = None
) -> style.Figure:
    """Draw orbits of channels: the images, then two rows an orbit, wrapped after six elements.

    The upper row of an orbit has the channel's map of every transformed image, transformed back; the lower one the
    partners' maps of the image itself. One scale of colours for each orbit, from its lowest value to its highest.

    Args:
        found: from `orbits`.
        elements: of the transformation, in the order of the orbits' maps; "x" is the image itself.
        title: such as the transformation's name.
        images: (elements, h, w) or (elements, h, w, 3) in [0, 1], the transformed images.
    """
    across = min(len(elements), 6)
    lines, height = -(-len(elements) // across), 2 * len(found) + (images is not None)
    figure, grid = style.panels(lines * height, across, 0.62 * 5.2 / (across + 1), 0.35)
    for axes in grid.flat:
        axes.axis("off")
    for place, element in enumerate(elements):
        line, column = divmod(place, across)
        block = [*grid[line * height : (line + 1) * height, column]]
        if images is not None:
            axes = block.pop(0)
            axes.imshow(images[place], cmap="Greys_r", vmin=0, vmax=1)
            axes.set_title("x" if element == "x" else f"g = {element}", fontsize=6, pad=2)
        for orbit, upper, lower in zip(found, block[::2], block[1::2], strict=True):
            scale = np.concatenate([np.ravel(each) for each in (*orbit.copies, *orbit.aligned)])
            limits = {"vmin": np.nanmin(scale), "vmax": np.nanmax(scale)}
            upper.imshow(orbit.copies[place], cmap="viridis", **limits)
            lower.imshow(orbit.aligned[place], cmap="viridis", **limits)
            if element != "x":
                partner = f"channel {orbit.partners[place]}\nr = {orbit.r[place]:.2f}"
                lower.set_title(partner, fontsize=5, pad=1.5)
            if column == 0:
                for axes, name in ((upper, f"{orbit.layer}\nchannel {orbit.channel}"), (lower, "partner on x")):
                    axes.text(-0.12, 0.5, name, ha="right", va="center", transform=axes.transAxes, fontsize=5.5)
    figure.suptitle(f"{title}: each orbit from its lowest value (dark) to its highest", fontsize=7)
    return figure


@style.styled
def draw_channels(table: pd.DataFrame, title: str) -> style.Figure:
    """Heat maps of channels by layers: is a score the mean of a few high correlations, or of many middling ones?

    Each column is a layer, its live channels sorted by their mean correlation over the elements: above with the
    same channel (whose mean is the invariance), below with the partner (the equivariance).

    Args:
        table: of partners.
        title: of the figure.
    """
    layers = table.drop_duplicates("index").sort_values("index").layer.tolist()
    each = table.groupby(["index", "channel"])[["own", "r"]].mean().clip(lower=0)
    figure, grid = style.panels(2, each=2.1, more=0, sharex=True)
    for axes, column, name in zip(grid[:, 0], ("own", "r"), ("same channel", "partner"), strict=True):
        of_layers = each[column].groupby(level="index")
        picture = np.stack([np.quantile(one, np.linspace(1, 0, 100)) for _, one in of_layers], axis=1)
        image = axes.imshow(picture, vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="nearest")
        axes.set_ylabel(f"{name}:\nlive channels, sorted")
        axes.set_yticks([0, 99], ["highest", "lowest"], rotation=90)
        axes.grid(False)
    axes.set_xticks(*style.named_layers(layers), **style.SLANTED)
    figure.colorbar(image, ax=grid, label="mean correlation", shrink=0.6)
    figure.suptitle(title)
    return figure


def report(metric: Equivariance, example: Tensor, asked: Any, folder: Path, model: str) -> None:
    """Where `measure.partners` asks for it: partner channels, what they come to by layer, pictures.

    Args:
        metric: need not have measured any images; the partners are those that the folder keeps.
        example: one normalised image, (1, c, h, w).
        asked: true or false, or the layer and the channel of an orbit.
        model: the network's name.
    """
    choice = {key: value for key, value in asked.items() if value is not None} if isinstance(asked, dict) else {}
    if not choice and asked is not True:
        return
    found = kept(folder)
    those = orbits(metric, example, found, **choice)
    by_layer = shares(found).merge(composition(found), on=["index", "layer", "transform"], how="left")
    for name, content in (("partners", found), ("partner_shares", by_layer)):
        write_atomic(folder / f"{name}.csv", content.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    print(by_layer.drop(columns="index").to_string(index=False, float_format="{:.2f}".format))
    transform = metric.transforms[0].name
    save(draw_channels(found, f"{model}: {transform}"), folder / "channels")
    if those:
        elements = ["x", *(f"{g.element}" for g in metric.transforms)]
        image = metric.prepare(example)
        copies = torch.cat([image, *(g.act(image) for g in metric.transforms)])
        save(draw_orbits(those, elements, transform, _shown(copies)), folder / "orbits")
    names = ", ".join(file for file in ("partners.csv", "channels.png", "orbits.png") if (folder / file).exists())
    print(f"partner channels: {names} in {folder}")


def _shown(images: Tensor) -> np.ndarray:
    """Normalised images (n, c, h, w) as (n, h, w), or (n, h, w, 3) where they are coloured, in [0, 1]."""
    pixels = (images if images.shape[1] == 3 else images[:, :1]).float().cpu().nan_to_num(0)
    low, high = pixels.amin((0, 2, 3), keepdim=True), pixels.amax((0, 2, 3), keepdim=True)
    scaled = (pixels - low) / (high - low).clamp(min=1e-12)
    return scaled.movedim(1, -1).squeeze(-1).numpy()
