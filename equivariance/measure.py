"""The measure: how alike are the feature maps of an image and of its transformed copies?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equivariance.features import Layer, tap
from equivariance.statistics import PairStatistics, PerImageStatistics
from equivariance.transforms import Transformation

STATISTICS = {"pearson": PairStatistics, "cosine": PairStatistics, "per_image": PerImageStatistics}


@dataclass(frozen=True)
class Score:
    """One number of a layer: its `measure` (invariance or equivariance) under one transformation.

    `value` and `chance` are in [0, 1]; NaN where the layer has no live channel or no common position.
    `activation` is the mean of f(x) where it was compared.
    """

    layer: Layer
    transform: Transformation
    measure: str
    value: float
    chance: float
    dead_channels: int
    activation: float


class Measurement:
    """Statistics of all layers under all transformations, filled batch by batch inside forward hooks.

    Args:
        model: in evaluation mode, on its device.
        layers: what to measure, from `features.find_layers`.
        transforms: the set G, without the identity.
        similarity: pearson (pooled over images and positions), cosine (likewise), or per_image (Pearson within
            each image).
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        transforms: Sequence[Transformation],
        similarity: str = "pearson",
    ):
        self.similarity = similarity
        self.model, self.layers, self.transforms = model, {layer.name: layer for layer in layers}, transforms
        device = next(model.parameters()).device
        self.statistics = {
            (layer.name, transform): STATISTICS[similarity](layer.channels, device)
            for layer in layers
            for transform in transforms
        }

    @torch.inference_mode()
    def add(self, images: Tensor) -> None:
        """Add n >= 2 normalised images (n, c, h, w): they and their transformed copies pass as one batch."""
        orbit = torch.cat([images, *(transform.act(images) for transform in self.transforms)])
        modules = {name: layer.module for name, layer in self.layers.items()}
        with tap(modules, self._receive):
            self.model(orbit)

    def scores(self) -> Iterator[Score]:
        """All scores, in the order of layers, transformations and measures."""
        for (name, transform), pairs in self.statistics.items():
            dead, activation = int(pairs.dead().sum()), pairs.activation()
            for measure, (value, chance) in pairs.scores(self.similarity).items():
                yield Score(self.layers[name], transform, measure, value, chance, dead, activation)

    def _receive(self, name: str, output: Tensor) -> None:
        original, *copies = output.chunk(1 + len(self.transforms))
        for transform, copy in zip(self.transforms, copies, strict=True):
            # Behind global pooling there is no position left to transform.
            spatial = output.ndim == 4 and output.shape[2:] != (1, 1)
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
