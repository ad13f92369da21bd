"""How alike are the layers of two networks? The statistics of the measure between the channels of both.

With a_c and b_c' the channels of a layer of each network on the same images, as one stream of positions:

    matching = mean over c of max over c' of relu(r[c, c']),    r Pearson's correlation
    linear   = mean over c of the multiple correlation of a_c with all channels of b, see `scores.linear`
    cka      = ||S_ab||_F^2 / (||S_aa||_F ||S_bb||_F),    S_ab = sum (a - mean a)(b - mean b)^T

(linear CKA: Kornblith et al. 2019; matching: Li et al. 2016). CKA does not depend on the order of the networks, the
other two say how much of a is in b. Maps of different sizes are compared at the smaller one, the larger one
averaged over cells (`adaptive_avg_pool2d`); behind global pooling that is the mean of the map.

The chance level of each is the same statistic for a and b of different images, 2i and 2i + 1: what wide layers, few
positions and patterns that all images share give by themselves.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.layers.find import Layer, Layers, find_layers, tap
from equivariance.layers.record import evaluating, readable
from equivariance.metric.equivariance import ONE_AT_A_TIME, images_for, place
from equivariance.metric.inputs import batches
from equivariance.metric.premises import kept_buffers, probe
from equivariance.statistics.image_blocks import CHANCE, TRUE, Blocks
from equivariance.statistics.linear import MOST_CHANNELS, UNKNOWN, Products, linear
from equivariance.statistics.moments import Moments, Side
from equivariance.statistics.over_dataset import less_origin

BLOCKS = 5  # of images at most, for `linear`
KINDS = ("matching", "linear", "cka")
Size = tuple[int, int]
Place = tuple[int, str]  # a network, 0 or 1, and the name of a layer


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
        batch_size: images of a forward pass; no influence on the result.

    Returns:
        One row per pair of layers: layer_a, layer_b, their places index_a and index_b, `matching`, `linear` (NaN
        with one or two images, or more than `linear.MOST_CHANNELS` channels), `cka`, and their chance levels
        `matching_chance`, `linear_chance`, `cka_chance` (NaN with one image), all in [0, 1], and `positions`, over
        how many they were taken. Channels without variance are left out.

    Raises:
        UserError: there are no images, a network has no such layer, a map holds NaN, or is not the same each time.
    """
    model_a, model_b = readable(model_a), readable(model_b)
    pairs: _Pairs | None = None
    for batch, _ in batches(images, batch_size):
        batch = images_for(model_a, batch)
        with ONE_AT_A_TIME:
            if pairs is None:
                both = (model_a, layers_a), (model_b, layers_b)
                pairs = _Pairs((model_a, model_b), [_layers(model, batch[:1], chosen) for model, chosen in both])
            pairs.add(batch)
    assert pairs is not None  # without images `batches` has raised
    return pd.DataFrame(pairs.rows())


def _layers(model: nn.Module, image: Tensor, chosen: Sequence[str] | None) -> Layers:
    """The layers of a network for which the premises of the measure hold."""
    with kept_buffers(model):
        layers = find_layers(model, image[0], chosen)
        probe(model, layers, layers.logits, image, lambda images: images)
    return layers


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
    """The sums of all pairs of layers of two networks."""

    def __init__(self, models: Sequence[nn.Module], layers: Sequence[Sequence[Layer]]):
        self.models, self.layers = models, layers
        self.channels = {(side, each.name): each.channels for side in (0, 1) for each in layers[side]}
        self.device = place(models[0])[0]
        self.blocks = Blocks(self.empty, BLOCKS)

    def empty(self, key: tuple[Place, Place, Size, str]) -> Moments:
        """Sums of products of the channels of two layers at one size."""
        return Moments(self.channels[key[0]], self.channels[key[1]], self.device)

    def add(self, images: Tensor) -> None:
        """Add the next images."""
        held = self.blocks.held
        images = images if held is None else torch.cat([held, images])
        maps = {
            (side, name): x
            for side, (model, layers) in enumerate(zip(self.models, self.layers, strict=True))
            for name, x in _maps(model, images, layers).items()
        }
        for (side, name), x in maps.items():
            if not x.isfinite().all():
                model = type(self.models[side]).__name__
                raise UserError(f"{model}: the maps of layer {name} hold NaN or infinity")
        for block, part, kinds in self.blocks.parts(len(images), held is not None):
            self.blocks.add(block, self.sums({place: x[part] for place, x in maps.items()}, kinds))
        self.blocks.counted(images, held is not None)

    def sums(self, maps: dict[Place, Tensor], kinds: Sequence[str]) -> dict[tuple, Moments]:
        """The sums of some images, whose maps are (n, c, h, w)."""

        @cache
        def ready(at: Place, size: Size) -> Side:
            return less_origin(F.adaptive_avg_pool2d(maps[at], size))

        found: dict[tuple, Moments] = {}
        for key in dict.fromkeys(key for a, b in product(*self.layers) for key in self.keys(a, b)):
            left, right, size, kind = key
            if kind in kinds:
                x, y = ready(left, size), ready(right, size)
                found[key] = Moments(x.total.numel(), y.total.numel(), self.device, x.values.dtype)
                found[key].add(x, y.mismatched if kind == CHANCE else y)
        return found

    @staticmethod
    def keys(a: Layer, b: Layer) -> list[tuple[Place, Place, Size, str]]:
        """Of the sums of true pairs, of pairs of different images, and of each of two layers with itself."""
        left, right = (0, a.name), (1, b.name)
        size = min(a.size[0], b.size[0]), min(a.size[1], b.size[1])  # at which they are compared
        pairs = [(left, right, TRUE), (left, right, CHANCE), (left, left, TRUE), (right, right, TRUE)]
        return [(x, y, size, kind) for x, y, kind in pairs]

    def rows(self) -> list[dict[str, Any]]:
        """What the sums say."""
        found = []
        for a, b in product(*self.layers):
            keys = self.keys(a, b)
            names = {"layer_a": a.name, "layer_b": b.name, "index_a": a.index, "index_b": b.index}
            wholes = [self.blocks.whole(key) for key in keys]
            found.append(names | self.scores(keys, wholes) | {"positions": wholes[0].count})
        return found

    def scores(self, keys: Sequence[tuple], wholes: Sequence[Moments]) -> dict[str, float]:
        """All scores and chance levels, from the sums of true pairs, of others, and of each layer with itself."""
        columns = [f"{kind}{ending}" for ending in ("", "_chance") for kind in KINDS]
        true = wholes[0]
        constant_a, constant_b = true.sides(true.constant())
        if constant_a.all() or constant_b.all():
            return dict.fromkeys(columns, float("nan"))
        blocks, centre = [block for block in self.blocks.in_order() if keys[0] in block], true.centre()
        products = [Products.of(each[keys[0]], each.get(keys[1]), each[keys[3]], centre) for each in blocks]
        fit = true.products.shape[1] <= MOST_CHANNELS
        fitted = linear(products, ~constant_a, constant_b) if fit else UNKNOWN
        found = {"linear": fitted.value, "linear_chance": fitted.chance}
        norms = [torch.linalg.matrix_norm(own.about(own.centre())) / own.count for own in wholes[2:]]
        for ending, whole in (("", true), ("_chance", wholes[1])):
            covariances, (a, b) = whole.about(whole.centre()), whole.sides(whole.squares_about(whole.centre()))
            r = (covariances / torch.outer(a, b).sqrt())[~constant_a][:, ~constant_b]
            found[f"matching{ending}"] = r.relu().amax(1).clamp(max=1).mean().item()
            cka = (covariances / max(whole.count, 1)).square().sum() / (norms[0] * norms[1])
            found[f"cka{ending}"] = min(cka.item(), 1.0) if whole.count else float("nan")
        return {key: found[key] for key in columns}
