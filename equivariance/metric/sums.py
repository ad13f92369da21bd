"""Which statistics each layer has, and how the maps of a batch are added up in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from equivariance.layers.find import Layer
from equivariance.metric.memory import CPU_VALUES, GPU_VALUES, chunks
from equivariance.statistics import linear
from equivariance.statistics.image_blocks import CHANCE, TRUE
from equivariance.statistics.moments import Moments, Side
from equivariance.statistics.over_dataset import DatasetStatistics
from equivariance.statistics.over_images import ImageStatistics, MaximumImageStatistics, ReluImageStatistics
from equivariance.transforms.protocol import Transformation

READINGS: dict[str, type[Moments]] = {  # by names.OVER
    "image": ImageStatistics,
    "image_relu": ReluImageStatistics,
    "image_max": MaximumImageStatistics,
    "dataset": DatasetStatistics,
}
OWN = " with itself"  # of T_g f(x) with itself, for `linear`


class Key(NamedTuple):
    """Names sums: of a layer under a transformation, over what a similarity runs, and of which pairs.

    Those of f(x) with itself, which exact transformations leave where it is, have no transformation.
    """

    layer: str
    transform: str
    element: float | str
    over: str
    pairs: str


def key_of(layer: Layer, g: Transformation | None, over: str, pairs: str = TRUE) -> Key:
    """The key of sums of pairs `TRUE`, `CHANCE` or `OWN`."""
    return Key(layer.name, g.name if g else "", g.element if g else "", over, pairs)


@dataclass(frozen=True)
class Sums:
    """The statistics of all layers under all transformations.

    Args:
        transforms: the set G, and the controls of those that have one.
        readings: of `READINGS`.
        fitted: with what `linear` needs.
        scales: factors (c,) for layers some of whose channels are too small or too large to be squared in float32.
    """

    layers: Mapping[str, Layer]
    transforms: Sequence[Transformation]
    readings: tuple[str, ...]
    similarity: str
    fitted: bool
    device: torch.device
    scales: Mapping[str, Tensor]

    def readings_of(self, layer: Layer) -> tuple[str, ...]:
        """Behind global pooling, where a map has one position, there is one: a similarity over the images."""
        return self.readings[:1] if layer.size == (1, 1) else self.readings

    def fits(self, layer: Layer, over: str) -> bool:
        """Whether a layer has the third score."""
        narrow = layer.channels <= linear.MOST_CHANNELS
        return self.fitted and narrow and (layer.size == (1, 1) or over in linear.OVER)

    def empty(self, key: tuple) -> Moments:
        """The sums under a `Key`, or its values as a saved state has them, before anything is added."""
        key = Key(*key)
        layer = self.layers[key.layer]
        kind = DatasetStatistics if layer.size == (1, 1) else READINGS[key.over]
        kind = Moments if key.pairs == OWN else kind
        return kind(layer.channels, device=self.device, similarity=self.similarity, chance=key.pairs == CHANCE)

    def of_maps(self, layer: Layer, over: str, maps: Tensor, pairs: Sequence[str]) -> dict[Key, Moments]:
        """The sums of n images and their copies, for each transformation.

        Args:
            maps: (1 + g, n, c, h, w), or (1 + g, n, c) behind global pooling; n even where there is `CHANCE`.
            pairs: which of `TRUE` and `CHANCE`.
        """
        if layer.name in self.scales:
            maps = maps * self.scales[layer.name].view(-1, *[1] * (maps.ndim - 3))
        most = CPU_VALUES if self.device.type == "cpu" else GPU_VALUES
        found = dict[Key, Moments]()

        def sums(key: Key) -> Moments:
            if key not in found:
                found[key] = self.empty(key)
            return found[key]

        for chunk in chunks(maps.shape[1], layer.channels, maps[0, 0].numel(), most):
            original, *copies = maps[:, chunk]
            shared: Side | None = None  # of f(x) itself, which exact transformations leave where it is
            for g, copy in zip(self.transforms, copies, strict=True):
                # behind global pooling there is no position left to transform
                aligned = g.align(copy, original, layer.stride) if copy.ndim == 4 else (copy, original)
                if aligned is None:
                    continue
                wanted = {each: sums(key_of(layer, g, over, each)) for each in pairs}
                first = wanted[pairs[0]]
                a = first.side(aligned[0], original=False, owned=_is_apart(aligned[0], maps))
                untouched = aligned[1] is original
                b = shared if untouched and shared is not None else None
                if b is None:
                    b = first.side(aligned[1], original=True, owned=_is_apart(aligned[1], maps))
                    if self.fits(layer, over) and TRUE in pairs:
                        sums(key_of(layer, None if untouched else g, over, OWN)).add(b, b)
                shared = b if untouched else shared
                for each, to in wanted.items():
                    to.add(a, b.mismatched if each == CHANCE else b)
        return found


def _is_apart(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have memory of their own, so that one may be overwritten."""
    return one.untyped_storage().data_ptr() != other.untyped_storage().data_ptr()
