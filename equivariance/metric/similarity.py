"""How alike are the layers of two networks? The statistics of the measure between the channels of both.

With a_c and b_c' the channels of a layer of each network on the same images, as one stream of positions:

    matching = mean over c of max over c' of relu(r[c, c']),    r Pearson's correlation
    linear   = mean over c of the multiple correlation of a_c with all channels of b, see `scores.linear`
    cka      = ||S_ab||_F^2 / (||S_aa||_F ||S_bb||_F),    S_ab = sum (a - mean a)(b - mean b)^T

(linear CKA: Kornblith et al. 2019; matching: Li et al. 2016). CKA does not depend on the order of the networks, the
other two say how much of a is in b. Maps of different sizes are compared at the smaller one, the larger one
averaged over cells (`adaptive_avg_pool2d`); behind global pooling that is the mean of the map.

The chance level of each is the same statistic for a and b of different images: what wide layers, few positions and
patterns that all images share give by themselves.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.layers.find import Layer, find_layers, tap
from equivariance.layers.record import evaluating
from equivariance.metric.equivariance import place
from equivariance.metric.measure import batches
from equivariance.statistics.linear import MOST_CHANNELS, UNKNOWN, Products, linear
from equivariance.statistics.pairs import DEAD, chance_channels

BLOCKS = 5  # of images, for `linear`
KINDS = ("matching", "linear", "cka")
CHANCE = tuple(f"{kind}_chance" for kind in KINDS)
Size = tuple[int, int]


class _Moments:
    """Sums of products of two sets of channels over positions, as a stream: less origins, merged as they come."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: list[Tensor] = []
        self.products = torch.zeros(())

    def add(self, a: Tensor, b: Tensor) -> None:
        """Add values (positions, c) and (positions, c'), less their origins."""
        self.count += len(a)
        more = [a.sum(0).double(), b.sum(0).double()]
        self.sums = [x + y for x, y in zip(self.sums, more, strict=True)] if self.sums else more
        self.products = self.products.to(a.device) + (a.mT @ b).double()

    def about(self, means: Sequence[Tensor]) -> Tensor:
        """The sums of products of the differences from these means, which are less the origins too."""
        mixed = torch.outer(self.sums[0], means[1]) + torch.outer(means[0], self.sums[1])
        return self.products - mixed + self.count * torch.outer(*means)


@torch.no_grad()
def similarity(
    model_a: nn.Module,
    model_b: nn.Module,
    images: Tensor | np.ndarray | Iterable,
    layers_a: Sequence[str] | None = None,
    layers_b: Sequence[str] | None = None,
    *,
    batch_size: int = 100,
) -> pd.DataFrame:
    """How alike every layer of one network is to every layer of another one; memory does not grow with the images.

    Args:
        model_a, model_b: on one device; measured in evaluation mode and left as they were.
        images: (n, c, h, w), normalised as both expect; or batches of them, also as (images, labels).
        layers_a, layers_b: patterns of module names; None: stem, blocks, pool and final.
        batch_size: images of a forward pass.

    Returns:
        One row per pair of layers: layer_a, layer_b, their places index_a and index_b, `matching`, `linear` (NaN
        with a single batch, or more than `linear.MOST_CHANNELS` channels), `cka`, and their chance levels
        `matching_chance`, `linear_chance`, `cka_chance`, all in [0, 1], and `positions`, over how many they were
        taken. Channels without variance are left out.

    Raises:
        UserError: there are no images, one alone in the first batch, or a network has no such layer.
    """
    device, dtype = place(model_a)
    first, pairs = None, _Pairs()
    for index, (batch, _) in enumerate(batches(images, batch_size)):
        batch = batch.to(device, dtype)
        if first is None:
            if len(batch) < 2:
                raise UserError("the first batch holds one image, which has no chance level: give at least two")
            first = batch
            sides = [
                find_layers(model, batch[0], patterns)
                for model, patterns in ((model_a, layers_a), (model_b, layers_b))
            ]
        pairs.add(_maps(model_a, batch, sides[0]), _maps(model_b, batch, sides[1]), index)
    if first is None:
        raise UserError("there are no images to compare the networks on")
    return pd.DataFrame(pairs.rows(*sides))


def _maps(model: nn.Module, images: Tensor, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """The feature maps (n, c, h, w) of layers by name, in float32 or better."""
    found: dict[str, Tensor] = {}
    with evaluating(model), tap(layers, found.__setitem__):
        model(images)
    return {
        name: (maps if maps.ndim == 4 else maps[..., None, None]).to(torch.promote_types(maps.dtype, torch.float32))
        for name, maps in found.items()
    }


class _Pairs:
    """The sums of all pairs of layers, in `BLOCKS` blocks of batches."""

    def __init__(self) -> None:
        self.moments: dict[tuple, list[_Moments]] = {}
        self.origins: dict[tuple, Tensor] = {}
        self.sizes: dict[tuple[int, str], Size] = {}
        self.before: dict[str, Tensor] = {}  # maps of the last image of b

    def add(self, maps_a: dict[str, Tensor], maps_b: dict[str, Tensor], batch: int) -> None:
        """Add the maps of a batch, to the block `batch` modulo `BLOCKS`.

        For the chance level each image of a meets the one before it of b, the very first one the last of its batch.
        """
        values: dict[tuple, Tensor] = {}
        others = {name: torch.cat([self.before.get(name, x[-1:]), x[:-1]]) for name, x in maps_b.items()}
        self.before = {name: x[-1:].clone() for name, x in maps_b.items()}
        maps = {(side, name): x for side, of in enumerate((maps_a, maps_b, others)) for name, x in of.items()}
        self.sizes = {key: (x.shape[2], x.shape[3]) for key, x in maps.items()}

        def at(key: tuple[int, str], size: Size) -> Tensor:
            if (*key, size) not in values:
                flat = F.adaptive_avg_pool2d(maps[key], size).movedim(1, -1).flatten(0, 2)
                values[*key, size] = flat - self.origins.setdefault((min(key[0], 1), key[1], size), flat.mean(0))
            return values[*key, size]

        done = set()
        for a, b in product(maps_a, maps_b):
            size = self.common(a, b)
            for left, right in (((0, a), (1, b)), ((0, a), (0, a)), ((1, b), (1, b)), ((0, a), (2, b))):
                if (key := (left, right, size)) not in done:
                    done.add(key)
                    blocks = self.moments.setdefault(key, [_Moments() for _ in range(BLOCKS)])
                    blocks[batch % BLOCKS].add(at(left, size), at(right, size))

    def common(self, a: str, b: str) -> Size:
        """The size at which two layers are compared."""
        (h, w), (k, v) = self.sizes[0, a], self.sizes[1, b]
        return min(h, k), min(w, v)

    def rows(self, layers_a: Sequence[Layer], layers_b: Sequence[Layer]) -> list[dict[str, Any]]:
        """What the sums say."""
        found = []
        for a, b in product(layers_a, layers_b):
            size = self.common(a.name, b.name)
            left, right = (0, a.name), (1, b.name)
            keys = [(left, right), (left, left), (right, right), (left, (2, b.name))]
            sums = [self.moments[*key, size] for key in keys]
            count = sum(each.count for each in sums[0])
            means = [
                torch.stack([each.sums[side] for each in sums[0] if each.count]).sum(0) / count for side in (0, 1)
            ]
            origins = [self.origins[*key, size].double() for key in (left, right)]
            parts = [
                [each.about(pair) for each in of if each.count]
                for of, pair in zip(sums, (means, means[:1] * 2, means[1:] * 2, means), strict=True)
            ]
            dead_a, dead_b = (count * (DEAD * (m + o)) ** 2 for m, o in zip(means, origins, strict=True))
            scores = _scores(parts, dead_a, dead_b)
            names = {"layer_a": a.name, "layer_b": b.name, "index_a": a.index, "index_b": b.index}
            found.append(names | scores | {"positions": count})
        return found


def _scores(parts: Sequence[list[Tensor]], dead_a: Tensor, dead_b: Tensor) -> dict[str, float]:
    """All scores and chance levels, from sums of products by block and the sums of squares of dead channels."""
    cross, own_a, own_b, others = parts
    s_ab, s_aa, s_bb = (torch.stack(each).sum(0) for each in (cross, own_a, own_b))
    live_a, live_b = s_aa.diagonal() > dead_a, s_bb.diagonal() > dead_b
    if not (live_a.any() and live_b.any()):
        return dict.fromkeys((*KINDS, *CHANCE), float("nan"))
    rows = chance_channels(len(s_aa), s_aa.device)
    products = [
        Products(ab, other[rows], bb, aa.diagonal())
        for ab, aa, bb, other in zip(cross, own_a, own_b, others, strict=True)
    ]
    fitted = linear(products, live_a) if len(s_bb) <= MOST_CHANNELS else UNKNOWN
    found = {"linear": fitted.value, "linear_chance": fitted.chance}
    deviations = torch.outer(s_aa.diagonal(), s_bb.diagonal()).sqrt()
    norms = torch.linalg.matrix_norm(s_aa) * torch.linalg.matrix_norm(s_bb)
    for ending, products_ab in (("", s_ab), ("_chance", torch.stack(others).sum(0))):
        r = (products_ab / deviations)[live_a][:, live_b]
        found[f"matching{ending}"] = r.relu().amax(1).clamp(max=1).mean().item()
        found[f"cka{ending}"] = min((products_ab.square().sum() / norms).item(), 1.0)
    return {key: found[key] for key in (*KINDS, *CHANCE)}
