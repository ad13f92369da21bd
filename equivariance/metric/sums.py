"""Which statistics each layer has, and how the maps of a batch are added up in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equivariance.layers.find import Layer
from equivariance.metric.memory import CPU_VALUES, GPU_VALUES, chunks
from equivariance.statistics import linear
from equivariance.statistics.over_dataset import DatasetStatistics
from equivariance.statistics.over_images import ImageStatistics, MaximumImageStatistics, ReluImageStatistics
from equivariance.statistics.pairs import PairStatistics, Side
from equivariance.transforms.protocol import Transformation

READINGS: dict[str, type[PairStatistics]] = {  # by names.OVER
    "image": ImageStatistics,
    "image_relu": ReluImageStatistics,
    "image_max": MaximumImageStatistics,
    "dataset": DatasetStatistics,
}
OWN = " with itself"  # ends the reading of sums of products of T_g f(x) with itself


Key = tuple[str, str, float | str, str]  # layer, name and element of the transformation, reading


def key_of(layer: Layer, g: Transformation | None, reading: str, own: bool = False) -> Key:
    """Names the statistics of f(T_g x) and T_g f(x); `own`: of T_g f(x) with itself, of f(x) where g is None."""
    return layer.name, g.name if g else "", g.element if g else "", reading + OWN * own


Sum = PairStatistics | linear.Gram


@dataclass(frozen=True)
class Sums:
    """The statistics of all layers under all transformations.

    Args:
        transforms: the set G, and the controls of those that have one.
        readings: of `READINGS`.
        fitted: with what `linear` needs.
        scales: factors for layers whose maps are too small or too large to be squared in float32.
    """

    layers: Mapping[str, Layer]
    transforms: Sequence[Transformation]
    readings: tuple[str, ...]
    similarity: str
    fitted: bool
    device: torch.device
    scales: Mapping[str, float]

    def readings_of(self, layer: Layer) -> tuple[str, ...]:
        """Behind global pooling, where a map has one position, there is one: a similarity over the images."""
        return self.readings[:1] if layer.size == (1, 1) else self.readings

    def fits(self, layer: Layer, reading: str) -> bool:
        """Whether a layer has the third score."""
        narrow = layer.channels <= linear.MOST_CHANNELS
        return self.fitted and narrow and (layer.size == (1, 1) or reading in linear.OVER)

    def empty(self, layer: Layer, reading: str) -> PairStatistics:
        """The statistics of a layer before anything is added."""
        return self._kind(layer, reading)(layer.channels, self.device, similarity=self.similarity)

    def empty_block(self) -> dict[Key, Sum]:
        """The statistics of all layers before anything is added."""
        block: dict[Key, Sum] = {}
        for layer in self.layers.values():
            for reading in self.readings_of(layer):
                block |= {key_of(layer, g, reading): self.empty(layer, reading) for g in self.transforms}
                if self.fits(layer, reading):
                    block |= {key_of(layer, g, reading, own=True): linear.Gram() for g in (None, *self.transforms)}
        return block

    def of_maps(self, layer: Layer, reading: str, maps: Tensor) -> dict[Key, Sum]:
        """The statistics of n images and their copies, for each transformation.

        Args:
            maps: (1 + g, n, c, h, w), or (1 + g, n, c) behind global pooling; n even, or three.
        """
        if layer.name in self.scales:
            maps = maps * self.scales[layer.name]
        most = CPU_VALUES if self.device.type == "cpu" else GPU_VALUES
        found: list[PairStatistics] = []
        grams: dict[Key, linear.Gram] = {}
        for chunk in chunks(maps.shape[1], layer.channels, maps[0, 0].numel(), most):
            original, *copies = maps[:, chunk]
            if not found:
                first = self._kind(layer, reading).start(original, self.similarity)
                found = [first, *(first.copy() for _ in copies[1:])]
            shared: Side | None = None  # of f(x) itself, which exact transformations leave where it is
            for statistics, g, copy in zip(found, self.transforms, copies, strict=True):
                # behind global pooling there is no position left to transform
                aligned = g.align(copy, original, layer.stride) if copy.ndim == 4 else (copy, original)
                if aligned is None:
                    continue
                a = statistics.side(aligned[0], original=False, owned=_is_apart(aligned[0], maps))
                untouched = aligned[1] is original
                if untouched and shared is not None:
                    b = shared
                else:
                    b = statistics.side(aligned[1], original=True, owned=_is_apart(aligned[1], maps))
                    if self.fits(layer, reading):
                        key = key_of(layer, None if untouched else g, reading, own=True)
                        grams.setdefault(key, linear.Gram()).add(b)
                shared = b if untouched else shared
                statistics.add(a, b)
        keys = (key_of(layer, g, reading) for g in self.transforms)
        return {**dict(zip(keys, found, strict=True)), **grams}

    def _kind(self, layer: Layer, reading: str) -> type[PairStatistics]:
        return DatasetStatistics if layer.size == (1, 1) else READINGS[reading]


def _is_apart(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have memory of their own, so that one may be overwritten."""
    return one.untyped_storage().data_ptr() != other.untyped_storage().data_ptr()
