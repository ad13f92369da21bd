"""The measure: how alike are the feature maps of an image and of its transformed copies?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equivariance import statistics
from equivariance.features import Layer, tap
from equivariance.statistics import PairStatistics
from equivariance.transforms import Transformation

SCORES: dict[str, Callable[[Tensor], float]] = {
    "invariance": statistics.invariance,
    "equivariance": statistics.equivariance,
}


@dataclass(frozen=True)
class Score:
    """One number of a layer: its `measure` (invariance or equivariance) under one transformation.

    `value` and `chance` are in [0, 1]; NaN where the layer has no live channel or no common position.
    """

    layer: Layer
    transform: Transformation
    measure: str
    value: float
    chance: float
    dead_channels: int


class Measurement:
    """Statistics of all layers under all transformations, filled batch by batch inside forward hooks.

    Args:
        model: in evaluation mode, on its device.
        layers: what to measure, from `features.find_layers`.
        transforms: the set G, without the identity.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer], transforms: Sequence[Transformation]):
        self.model, self.layers, self.transforms = model, {layer.name: layer for layer in layers}, transforms
        device = next(model.parameters()).device
        self.statistics = {
            (layer.name, transform): PairStatistics(layer.channels, device)
            for layer in layers
            for transform in transforms
        }

    @torch.inference_mode()
    def add(self, images: Tensor) -> None:
        """Add n >= 2 normalised images (n, c, h, w): they and their transformed copies pass as one batch."""
        orbit = torch.cat([images, *(transform.act(images) for transform in self.transforms)])
        with tap(self.layers.values(), self._receive):
            self.model(orbit)

    def scores(self) -> Iterator[Score]:
        """All scores, in the order of layers, transformations and measures."""
        for (name, transform), pairs in self.statistics.items():
            dead = int(pairs.dead().sum())
            r, chance = pairs.correlation(), pairs.correlation(chance=True)
            for measure, score in SCORES.items():
                yield Score(self.layers[name], transform, measure, score(r), score(chance), dead)

    def _receive(self, name: str, maps: Tensor) -> None:
        original, *copies = maps.chunk(1 + len(self.transforms))
        for transform, copy in zip(self.transforms, copies, strict=True):
            # Behind global pooling there is no position left to transform.
            spatial = maps.ndim == 4
            pair = transform.align(copy, original, self.layers[name].stride) if spatial else (copy, original)
            if pair is not None:
                self.statistics[name, transform].update(*pair)


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices of an even number of at most `size` images; the last one takes a single left-over image along.

    So each image meets the same partner for the chance level whatever the batch size.
    """
    size = max(2, size // 2 * 2)
    start = 0
    while start < count:
        stop = count if count - start <= size + 1 else start + size
        yield slice(start, stop)
        start = stop
