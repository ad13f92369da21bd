"""The measure: how alike are the feature maps of an image and of its transformed copies?"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd
import torch
from scipy.stats import t as student
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.layers.find import Layer, tap
from equivariance.scores.channel_matching import partners
from equivariance.scores.per_image import PerImageStatistics
from equivariance.scores.statistics import (
    Centred,
    PairStatistics,
    Products,
    chance_channels,
    leave_one_out,
    merged,
    neighbours,
    paired,
)
from equivariance.scores.transforms import Transformation, preparation

CPU_PIXELS = 2**23  # of a batch with all its copies
MEMORY = 4 * 2**30  # bytes of the statistics of all blocks
CPU_VALUES = 2**18  # compared at a time: 1 MiB, half of a core's second-level cache
GPU_VALUES = 2**23  # likewise: enough to keep one busy, and not too many for sums in float32
STATISTICS = {"pearson": PairStatistics, "cosine": PairStatistics, "per_image": PerImageStatistics}


@dataclass(frozen=True)
class Score:
    """One number of a layer: its `measure` (invariance or equivariance) under one transformation.

    `value` and `chance` are in [0, 1]; NaN where the layer has no live channel or no common position.
    `low` and `high` are the ends of its 95 % confidence interval over images (NaN with a single block).
    `activation` is the mean of f(x) where it was compared.
    """

    layer: Layer
    transform: Transformation
    measure: str
    value: float
    chance: float
    low: float
    high: float
    dead_channels: int
    activation: float


class Measurement:
    """Statistics of all layers under all transformations, filled batch by batch inside forward hooks.

    The images are cut into blocks of equal size, each with statistics of its own. They merge into those of all
    images, and leaving out one block at a time gives the jackknife confidence interval of every score.

    Args:
        model: in evaluation mode, on its device.
        layers: what to measure, from `features.find_layers`.
        transforms: the set G, without the identity.
        count: number of images that will be measured.
        similarity: pearson (pooled over images and positions), cosine (likewise), or per_image (Pearson within
            each image).
        blocks: of images, for the confidence interval; 1 for none.
        labels: (count,), where the logits (the layer `final`) are the classes of the images; None otherwise.

    Attributes:
        correct: images so far whose largest logit is that of their label.
        done: index of the next image.
        reached: for each layer that has had images beyond, the index of its next one.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        transforms: Sequence[Transformation],
        count: int,
        similarity: str = "pearson",
        blocks: int = 10,
        labels: Tensor | None = None,
    ):
        self.model, self.transforms, self.similarity = model, transforms, similarity
        self.prepare = preparation(transforms)
        self.layers = {layer.name: layer for layer in layers}
        blocks = max(1, min(blocks, count // 2))
        self.bounds = [*(2 * (count * block // (2 * blocks)) for block in range(blocks)), count]
        self.labels, self.correct = labels, 0
        self.done = 0
        self.device = next(model.parameters()).device
        self.blocks = [self._empty() for _ in range(blocks)]
        self.reached = dict.fromkeys(self.layers, 0)

    def _empty(self) -> dict[tuple[str, float | str], PairStatistics]:
        kind = STATISTICS[self.similarity]
        return {
            (name, transform.element): kind(layer.channels, self.device)
            for name, layer in self.layers.items()
            for transform in self.transforms
        }

    def batch(self, size: int) -> slice:
        """The next images: an even number of at most `size`, within one block; a single left-over goes along.

        So each image meets the same partner for the chance level whatever the batch size.
        """
        end = next(bound for bound in self.bounds if bound > self.done)
        size = max(2, size // 2 * 2)
        return slice(self.done, end if end - self.done <= size + 1 else self.done + size)

    @torch.inference_mode()
    def add(self, images: Tensor) -> None:
        """Add the next n >= 2 normalised images (n, c, h, w); they and their copies pass as one batch.

        A pass that runs out of memory half way may be repeated with fewer images: `reached` says which layers
        have had them.
        """
        images = self.prepare(images)
        orbit = torch.cat([images, *(transform.act(images) for transform in self.transforms)])
        block = self.blocks[sum(bound <= self.done for bound in self.bounds) - 1]

        def receive(name: str, maps: Tensor) -> None:
            layer, had = self.layers[name], max(0, self.reached[name] - self.done)
            if had >= len(images):
                return
            sides = maps.unflatten(0, (-1, len(images)))[:, had:]
            found = self._products(layer, sides)
            for transform, statistics in zip(self.transforms, found, strict=True):
                block[name, transform.element].merge(statistics)
            if name == "final" and self.labels is not None:
                labels = self.labels[self.done + had : self.done + len(images)]
                self.correct += (sides[0].argmax(1) == labels).sum().item()
            self.reached[name] = self.done + len(images)

        with tap(self.layers.values(), receive):
            self.model(orbit)
        self.done += len(images)

    def _products(self, layer: Layer, sides: Tensor) -> list[PairStatistics]:
        """Of the maps of images and all their copies (1 + g, n, c, ...) the statistics of each transformation."""
        dtype = torch.promote_types(sides.dtype, torch.float32)
        kind = STATISTICS[self.similarity].batch
        sums = [kind(layer.channels, self.device, dtype) for _ in self.transforms]
        most = CPU_VALUES if self.device.type == "cpu" else GPU_VALUES
        for chunk in chunks(sides.shape[1], layer.channels, sides[0, 0].numel(), most):
            for part, weight in neighbours(chunk):
                self._compare(layer, sums, weight, *paired(sides[:, part]))
        return [products.statistics() for products in sums]

    def _compare(
        self, layer: Layer, sums: Sequence[Products], weight: float, original: Tensor, *copies: Tensor
    ) -> None:
        """Add a few images to the sums of each transformation that leaves them common positions."""
        whole = None
        for products, transform, copy in zip(sums, self.transforms, copies, strict=True):
            # Behind global pooling there is no position left to transform.
            sides = transform.align(copy, original, layer.stride) if copy.ndim == 4 else (copy, original)
            if sides is None:
                continue
            copy, shared = sides
            if shared is original:
                whole = shared = whole or Centred(original, products.origins[1], shared=True)
            products.add(copy, shared, weight)

    def scores(self) -> Iterator[Score]:
        """All scores, in the order of layers, transformations and measures."""
        for name, layer in self.layers.items():
            for transform in self.transforms:
                blocks = [block[name, transform.element] for block in self.blocks]
                pairs = merged(blocks)
                dead, activation = int(pairs.dead().sum()), pairs.activation()
                without = [others.scores(self.similarity) for others in leave_one_out(blocks)]
                for measure, (value, chance) in pairs.scores(self.similarity).items():
                    half = half_width([scores[measure][0] for scores in without])
                    low, high = max(value - half, 0.0), min(value + half, 1.0)  # NaN stays NaN
                    yield Score(layer, transform, measure, value, chance, low, high, dead, activation)

    @torch.inference_mode()
    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """The feature maps of all layers for a few images."""
        found: dict[str, Tensor] = {}
        with tap(self.layers.values(), found.__setitem__):
            self.model(images)
        return found

    def partners(self) -> pd.DataFrame:
        """Which channel matched which one, see `partners.partners`: for all layers and transformations."""
        return pd.concat(
            partners(name, layer.index, g.element, self._whole(name, g).similarities(self.similarity))
            for name, layer in self.layers.items()
            for g in self.transforms
        )

    def _whole(self, name: str, transform: Transformation) -> PairStatistics:
        return merged([block[name, transform.element] for block in self.blocks])

    def state(self) -> dict[str, Any]:
        """What has been measured so far, as tensors and plain values."""
        statistics = [{key: pairs.state() for key, pairs in block.items()} for block in self.blocks]
        return {
            "done": self.done,
            "reached": dict(self.reached),
            "correct": self.correct,
            "bounds": self.bounds,
            "statistics": statistics,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()` of a measurement of the same layers, transformations and images."""
        self.blocks, self.correct = [self._empty() for _ in self.blocks], 0
        self.merge(state)
        self.done, self.reached = state["done"], dict(state["reached"])

    def merge(self, state: dict[str, Any]) -> None:
        """Add what another process measured on other images of the same blocks."""
        kind = STATISTICS[self.similarity]
        self.correct += state.get("correct", 0)
        for block, other in zip(self.blocks, state["statistics"], strict=True):
            for key, pairs in other.items():
                block[key].merge(kind.from_state(pairs, self.device))


def affordable_images(images: int, device: torch.device, image: Tensor, copies: int) -> int:
    """The images of a batch, on a CPU fewer of large ones: there memory that runs out is not refused, it kills."""
    if device.type != "cpu":
        return images
    return min(images, max(2, CPU_PIXELS // (copies * image[0].numel())))


def affordable_blocks(layers: Sequence[Layer], elements: int, blocks: int) -> int:
    """As many blocks of images as asked for, or fewer where their statistics would take more than `MEMORY`."""
    return min(blocks, max(1, MEMORY // (elements * sum(map(_bytes, layers)))))


def affordable_layers(layers: Sequence[Layer], elements: int) -> tuple[list[Layer], dict[str, str]]:
    """The layers whose statistics of one block take at most `MEMORY`, and why the others are left out.

    Raises:
        UserError: there are none.
    """
    too_wide = {layer.name: elements * _bytes(layer) for layer in layers if elements * _bytes(layer) > MEMORY}
    reasons = {
        name: f"the sums of all pairs of its channels need {size / 2**30:.0f} GiB"
        for name, size in too_wide.items()
    }
    if len(too_wide) == len(layers):
        raise UserError("every layer has too many channels: " + "; ".join(map(": ".join, reasons.items())))
    return [layer for layer in layers if layer.name not in too_wide], reasons


def _bytes(layer: Layer) -> int:
    """Of the statistics of a layer under one transformation, nearly."""
    return 8 * layer.channels * (layer.channels + len(chance_channels(layer.channels)))


def chunks(images: int, channels: int, size: int, most: int = CPU_VALUES) -> Iterator[slice]:
    """Cut a batch so that what is compared at a time suits the processor: on a CPU, fits into its cache.

    Not finer than 16 positions a channel, for the sums have to be read and written as well. Chunks are of even
    size; a single left-over goes along with the last, so that partners stay together.

    Args:
        size: values of one image's map.
        most: values of a side.
    """
    step = max(most // size, 16 * channels**2 // size, 1)
    cuts = [*range(0, images - 1, 2 * math.ceil(step / 2)), images]
    return (slice(*cut) for cut in pairwise(cuts))


def half_width(without: Sequence[float], level: float = 0.95) -> float:
    """Half the width of the jackknife confidence interval, from the estimates that leave out one block each.

    t sqrt((B - 1) / B sum (x_i - mean x)^2), t the quantile of Student's distribution with B - 1 degrees of
    freedom (Efron & Tibshirani 1993, Ch. 11). NaN for a single block.
    """
    blocks = len(without)
    if blocks < 2:
        return math.nan
    mean = sum(without) / blocks
    error = math.sqrt((blocks - 1) / blocks * sum((x - mean) ** 2 for x in without))
    return float(student.ppf((1 + level) / 2, blocks - 1)) * error


def feed(measurement: Measurement, load: Callable[[slice], Tensor], stop: int, size: int) -> Iterator[int]:
    """Measure images up to the one with index `stop`, yielding the number of images of each batch.

    Out of memory, the batches are halved and the measurement goes on; no result depends on it.

    Args:
        load: gives the normalised images of a slice, on the model's device.
        size: images of a batch.

    Raises:
        UserError: not even two images and their copies fit into memory.
    """
    while measurement.done < stop:
        part = measurement.batch(size)
        try:
            measurement.add(load(part))
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            count = part.stop - part.start
            if count <= 3:
                copies = len(measurement.transforms)
                raise UserError(
                    f"out of memory with {count} images and {copies} copies of each: "
                    "measure fewer measure.transform.elements at a time"
                ) from error
            size = max(2, count // 4 * 2)
            print(f"out of memory: batches of {size} images from here on")
        else:
            yield part.stop - part.start
