"""The measure: how alike are the feature maps of an image and of its transformed copies?

`measure` takes a network and images and returns a table; `Equivariance` is the metric behind it, with the usual
contract: `update` with any batch, `merge_state`, `compute`, `reset`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.layers.find import Layer, Layers, find_layers, tap
from equivariance.names import NESTED, OVER, SCORES, SIMILARITIES
from equivariance.progress import progress as progress_bar
from equivariance.scores import linear
from equivariance.scores.channel_matching import partners
from equivariance.scores.intervals import half_width
from equivariance.scores.statistics import (
    READINGS,
    DatasetStatistics,
    PairStatistics,
    chance_channels,
    cross_fitted,
)
from equivariance.scores.transforms import Transformation, preparation

CPU_PIXELS = 2**23  # of a batch with all its copies
MEMORY = 4 * 2**30  # bytes of the statistics of all blocks
CPU_VALUES = 2**18  # compared at a time: 1 MiB, half of a core's second-level cache
SMALL = (
    1e-10  # feature maps below it, and above its reciprocal, are scaled: squares in float32 end at 1e-38 and 1e38
)
GPU_VALUES = 2**23  # likewise: enough to keep one busy, and not too many for sums in float32
COLUMNS = (  # of `Equivariance.compute`
    *("layer", "index", "part", "stride", "transform", "element", "measure", "similarity", "over"),
    *("value", "cross_fitted", "chance", "low", "high", "control"),
    *("agreement", "top1", "agreement_worst", "top1_worst"),
    *("activation", "images", "channels", "dead_channels", "live"),
)

# a layer's name, a transformation's name and element, a reading of `names.OVER`; sums of products of T_g f(x) with
# itself have the ending `OWN` to their reading, those that exact transformations share no transformation
Key = tuple[str, str, float | str, str]
OWN = " with itself"


def measure(
    model: nn.Module,
    images: Tensor | np.ndarray | Iterable,
    transforms: Sequence[Transformation],
    layers: Sequence[str] | None = None,
    *,
    over: str | Sequence[str] = "image",
    similarity: str = "pearson",
    scores: Sequence[str] = SCORES,
    blocks: int = 10,
    batch_size: int = 250,
    progress: bool = False,
) -> pd.DataFrame:
    """Invariance and equivariance of every layer of a network under every transformation.

    Args:
        model: takes images (n, c, h, w) as they are given here; measured in evaluation mode and left as it was.
        images: (n, c, h, w), normalised as the network expects; or batches of them, also as (images, labels).
        transforms: the set G without the identity, from `rotations`, `shifts` and their like.
        layers: patterns of module names, such as `layer1.*`; None: stem, blocks, pool and final.
        over: over what a similarity runs, see `statistics`: one of `names.OVER`, or several.
        similarity: pearson or cosine.
        scores: of `names.NESTED`: invariance, equivariance and, where asked for, linear.
        blocks: at most so many blocks of images give the confidence interval.
        batch_size: images of a forward pass, each with all its copies; no influence on the result.
        progress: show a bar.

    Returns:
        One row per layer, transformation and score; the columns are those of results.csv.

    Raises:
        UserError: no images, fewer than two, or some that the network or a transformation cannot take.
    """
    from equivariance.runs.rows import COLUMNS as ROW_COLUMNS

    stream = batches(images, batch_size)
    first = next(stream, None)
    if first is None:
        raise UserError("there are no images to measure")
    metric = Equivariance(
        model,
        first[0][0],
        transforms,
        layers,
        over=over,
        similarity=similarity,
        scores=scores,
        blocks=blocks,
        batch_size=batch_size,
    )
    total = len(images) if isinstance(images, Tensor | np.ndarray) else None
    with progress_bar("equivariance", total) if progress else nullcontext() as bar:
        for batch, labels in _chain(first, stream):
            metric.update(batch, labels)
            if bar is not None:
                bar.update(len(batch))
    table = metric.compute().assign(model=type(model).__name__, accuracy=metric.accuracy)
    return table.reindex(columns=ROW_COLUMNS)


class Equivariance:
    """Scores of all layers under all transformations, from statistics that are filled inside forward hooks.

    The images are cut into blocks, each with statistics of its own, at most `blocks` of them: of 2, 4, 8, ...
    images, as many as it takes. Merged, they give the scores; leaving out one at a time gives the confidence
    interval. Images 2i and 2i + 1 give the chance level together. Neither depends on the batches in which the
    images come: the last two or three are held back until more come or `compute` is called.

    A transformation that interpolates has a `control`, which is measured beside it.

    Args:
        model: on its device; measured in evaluation mode and left as it was.
        example: an image (c, h, w), or a batch of them, as the network takes them.
        transforms: the set G, without the identity.
        layers: patterns of module names, or layers that `find_layers` has found; None: stem, blocks, pool, final.
        over: over what a similarity runs, see `statistics`: one of `names.OVER`, or several.
        similarity: pearson or cosine.
        scores: of `names.NESTED`. `linear` is there over image and dataset, with at least two blocks, and for
            layers of at most `linear.MOST_CHANNELS` channels; elsewhere it is NaN.
        blocks: at most so many blocks of images; 1 for no interval.
        batch_size: images of a forward pass, each with all its copies; fewer where the memory is too small.
        first_image: index of the first image that will come, an even number, where several metrics share the images
            and are merged afterwards.

    Attributes:
        layers: what is measured, by name.
        left_out: names of layers that are not measured, and why.
        too_wide: names of layers that have too many channels for `linear`; none where it is not asked for.
        images: how many are in the statistics so far.
        correct: those among them whose largest logit is that of their label; None without labels.

    Raises:
        UserError: an argument is not as said, or the network has no such layer.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        transforms: Sequence[Transformation],
        layers: Sequence[str] | Sequence[Layer] | None = None,
        *,
        over: str | Sequence[str] = "image",
        similarity: str = "pearson",
        scores: Sequence[str] = SCORES,
        blocks: int = 10,
        batch_size: int = 250,
        first_image: int = 0,
    ):
        readings = (over,) if isinstance(over, str) else tuple(over)
        scores = (scores,) if isinstance(scores, str) else tuple(scores)
        _check(readings, similarity, scores, transforms, blocks, batch_size, first_image)
        self.model, self.transforms, self.readings, self.similarity = model, list(transforms), readings, similarity
        self.scores = tuple(score for score in NESTED if score in scores)
        self.controls = {g: g.control for g in self.transforms if hasattr(g, "control")}
        self.copies = [*self.transforms, *self.controls.values()]
        self.prepare = preparation(self.transforms)
        self.device, self.dtype = place(model)
        image = self._images(example if example.ndim == 4 else example[None])[0]
        for transform in self.transforms:
            transform.check(*image.shape[-2:])
        chosen = [layer for layer in layers or () if isinstance(layer, Layer)]
        patterns = [layer for layer in layers or () if isinstance(layer, str)] or None
        there = Layers(chosen) if chosen else find_layers(model, image, patterns)
        self.left_out = dict(there.left_out)
        elements = len(self.copies) * len(readings)
        found, too_wide = affordable_layers(there, elements)
        self.left_out |= too_wide
        self.layers = {layer.name: layer for layer in found}
        fitted = "linear" in self.scores
        self.too_wide = [each.name for each in found if fitted and each.channels > linear.MOST_CHANNELS]
        self.blocks_at_most = affordable_blocks(found, elements, blocks, fitted)
        self.batch_size = affordable_images(batch_size, self.device, image, 1 + len(self.copies))
        self.first_image = first_image
        self.scales = self._scales(image)
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self.images = 0
        self.correct: int | None = None
        self.felt: Counter[tuple[str, str, float | str]] = (
            Counter()
        )  # images, by column, transformation and element
        self.block_size = 2
        self.blocks: dict[int, dict[Key, Any]] = {}  # `PairStatistics`, or `linear.Gram`
        self.reached = dict.fromkeys(self.layers, 0)  # images in the statistics of each layer
        self._held: tuple[Tensor, Tensor | None] | None = None

    @torch.inference_mode()
    def update(self, images: Tensor | np.ndarray, labels: Tensor | np.ndarray | None = None) -> None:
        """Add images (n, c, h, w), any number of them; labels (n,) where the logits are their classes.

        Out of memory, the forward passes are halved and the measurement goes on; no result depends on it.

        Raises:
            UserError: the images are none, or not even two and their copies fit into memory; one, or a
                map, holds NaN.
        """
        images, labels = self._images(images), None if labels is None else torch.as_tensor(labels)
        finite = images.isfinite().flatten(1).all(1)
        if not finite.all():
            place = self.images + (0 if self._held is None else len(self._held[0])) + int(finite.int().argmin())
            raise UserError(f"image {self.first_image + place} (from 0 on) holds NaN or infinity")
        if self._held is not None:
            before, their_labels = self._held
            images = torch.cat([before, images])
            labels = None if labels is None or their_labels is None else torch.cat([their_labels, labels])
        ready = max(0, len(images) - 2) // 2 * 2
        self._add(images[:ready], None if labels is None else labels[:ready])
        self._held = (images[ready:], None if labels is None else labels[ready:])

    @torch.inference_mode()
    def merge_state(self, other: "Equivariance | dict[str, Any]") -> None:
        """Add what another metric, or the `state_dict()` of one, has measured on other images."""
        if isinstance(other, Equivariance):
            other.finish()
            other = other.state_dict()
        self.finish()
        while self.block_size < other["block_size"]:
            self._coarsen()
        scale = self.block_size // other["block_size"]
        for index, block in other["blocks"].items():
            mine = self._block(index // scale)
            for key, state in block.items():
                kind = type(mine[key])
                mine[key].merge(kind.from_state(state, self.device))
        self.images += other["images"]
        self.felt.update(other["felt"])
        if other["correct"] is not None:
            self.correct = (self.correct or 0) + other["correct"]
        self._coarsen_to(0)

    def state_dict(self) -> dict[str, Any]:
        """The statistics as tensors and plain values, without the images that are held back."""
        return {
            "images": self.images,
            "correct": self.correct,
            "felt": dict(self.felt),
            "reached": dict(self.reached),
            "block_size": self.block_size,
            "blocks": {
                index: {key: pairs.state() for key, pairs in block.items()} for index, block in self.blocks.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the `state_dict()` of a metric with the same arguments."""
        self.reset()
        self.merge_state(state | {"correct": None})
        self.correct, self.reached = state["correct"], dict(state["reached"])

    @torch.inference_mode()
    def finish(self) -> None:
        """Add the images that are held back, before the statistics are merged with others or saved.

        Raises:
            UserError: it is a single one, which has no other image for its chance level.
        """
        if self._held is None or not len(self._held[0]):
            return
        if len(self._held[0]) == 1:
            raise UserError("one image alone has no chance level: give at least two")
        held, self._held = self._held, None
        self._add(*held)

    @contextmanager
    def _with_held(self) -> Iterator[None]:
        """Inside, the images that are held back are in the statistics; afterwards they are held back again."""
        if self._held is None or not len(self._held[0]):
            yield
            return
        self._coarsen_to(len(self._held[0]))  # which as many more images would have done as well
        (index, _), *_ = self._segments(len(self._held[0]))
        block = {key: pairs.copy() for key, pairs in self.blocks[index].items()} if index in self.blocks else None
        before = self._held, self.images, self.correct, self.felt.copy(), dict(self.reached)
        self.finish()
        try:
            yield
        finally:
            self._held, self.images, self.correct, self.felt, self.reached = before
            if block is None:
                del self.blocks[index]
            else:
                self.blocks[index] = block

    @property
    def accuracy(self) -> float:
        """The share of images whose largest logit is that of their label; NaN without labels."""
        return math.nan if self.correct is None else self.correct / self.images

    def dead_layers(self) -> list[str]:
        """The layers no channel of which has varied over the images in the statistics so far."""
        g = self.transforms[0]
        keys = {name: _key(name, g, self._readings(layer)[0]) for name, layer in self.layers.items()}
        return [name for name, key in keys.items() if self._whole(key).dead().all()]

    @torch.inference_mode()
    def compute(self) -> pd.DataFrame:
        """The scores so far: one row per layer, transformation and score, with the columns `COLUMNS`.

        `value` is the score, `chance` the same statistic for pairs of different images, `cross_fitted` the value
        with partners chosen on other images, `low` to `high` the 95 % interval over images (from `cross_fitted`
        less the jackknife's half width to `value` plus it; NaN with one block), `control` the score of the
        transformation's control (NaN for exact ones), `activation` the mean of f(x), `live` the mean share of
        channels that have variance in an image. Of the layer `final`, `agreement` is the share of images whose
        predicted class stays and `top1` that of those whose class is right (NaN without labels), `agreement_worst`
        and `top1_worst` under all elements at once. All but `activation` and `stride`
        lie in [0, 1]; NaN where a layer has no live channel or no common position.
        """
        with self._with_held():
            rows = [
                row | {"over": over}
                for layer in self.layers.values()
                for over in self._readings(layer)
                for g in self.transforms
                for row in self._rows(layer, g, over)
            ]
            rows += [
                row | {"over": over}
                for over in self.readings[1:]
                for row in rows
                if self.layers[row["layer"]].size == (1, 1)
            ]
            rows = [row for row in rows if row["measure"] != "linear" or row["over"] in linear.OVER]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def similarities(self, layer: str, element: float | str | Transformation, over: str | None = None) -> Tensor:
        """r (c, c) of a layer under a transformation: rows f(T_g x), columns T_g f(x); NaN for dead channels.

        Args:
            element: of the transformation, or itself where another one has the same element.
            over: the reading; None: the first one that is measured.

        Raises:
            UserError: no transformation, or several ones, have this element.
        """
        found = [g for g in self.transforms if element in (g, g.element)]
        if len(found) != 1:
            raise UserError(
                f"{len(found)} of the transformations have the element {element}: give the transformation"
            )
        there = self._readings(self.layers[layer])
        return self._whole(_key(layer, found[0], over if over in there else there[0])).similarities()

    @torch.inference_mode()
    def partners(self) -> pd.DataFrame:
        """Which channel matched which one, see `channel_matching.partners`: for all layers and transformations."""
        with self._with_held():
            return pd.concat(
                partners(name, layer.index, g.element, self.similarities(name, g))
                for name, layer in self.layers.items()
                for g in self.transforms
            )

    @torch.inference_mode()
    def maps(self, images: Tensor, transforms: Sequence[Transformation] = ()) -> dict[str, Tensor]:
        """The feature maps of all layers for a few images, made ready as those that are measured.

        Args:
            images: (n, c, h, w).
            transforms: after the images, their copies under each of these.
        """
        found: dict[str, Tensor] = {}
        images = self.prepare(images)
        with evaluating(self.model), tap(self.layers.values(), found.__setitem__):
            self.model(torch.cat([images, *(g.act(images) for g in transforms)]))
        return found

    def _images(self, images: Tensor | np.ndarray) -> Tensor:
        images = torch.as_tensor(images)
        if images.ndim != 4 or not len(images):
            raise UserError(f"images of shape {tuple(images.shape)}: give (n, c, h, w) with n from 1 on")
        return images.to(self.device, self.dtype if images.is_floating_point() else images.dtype)

    @torch.inference_mode()
    def _scales(self, image: Tensor) -> dict[str, float]:
        """Powers of two for layers whose maps are so small or large that their squares would leave float32.

        No score depends on them. They are of the network's maps of one random image, so that metrics of the same
        network have the same ones and can be merged.
        """
        if not image.is_floating_point():
            return {}
        scales: dict[str, float] = {}

        def note(name: str, maps: Tensor) -> None:
            largest = maps.abs().amax().item()
            if 0 < largest < math.inf and not SMALL < largest < 1 / SMALL:
                scales[name] = 2.0 ** -round(math.log2(largest))

        random = torch.randn(1, *image.shape, generator=torch.Generator().manual_seed(0)).to(image)
        with evaluating(self.model), tap(self.layers.values(), note):
            self.model(self.prepare(random))
        return scales

    def _add(self, images: Tensor, labels: Tensor | None) -> None:
        """Add an even number of images or three, in forward passes that fit into memory."""
        size, start = max(2, self.batch_size // 2 * 2), 0
        while start < len(images):
            left = len(images) - start
            end = len(images) if left <= size + 1 else start + size
            try:
                self._forward(images[start:end], None if labels is None else labels[start:end])
            except RuntimeError as error:
                if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                    raise
                if end - start <= 3:
                    raise UserError(
                        f"out of memory with {end - start} images and {len(self.copies)} copies of each: "
                        "measure fewer transformations at a time"
                    ) from error
                self.batch_size = size = max(2, (end - start) // 4 * 2)
                print(f"out of memory: batches of {size} images from here on")
            else:
                start = end

    def _forward(self, images: Tensor, labels: Tensor | None) -> None:
        """One forward pass of images and all their copies.

        A pass that runs out of memory half way is repeated with fewer images: `reached` says which layers have had
        them.
        """
        n = len(images)
        self._coarsen_to(n)
        images = self.prepare(images)
        orbit = torch.cat([images, *(transform.act(images) for transform in self.copies)])
        segments = list(self._segments(n))

        def receive(name: str, maps: Tensor) -> None:
            layer = self.layers[name]
            if self.reached[name] >= self.images + n:
                return
            sides = maps.unflatten(0, (-1, n))
            if name in self.scales:
                sides = sides * self.scales[name]
            for index, part in segments:
                block = self._block(index)
                for reading in self._readings(layer):
                    for key, sums in self._compared(layer, reading, sides[:, part]).items():
                        block[key].merge(sums)
            if name == "final" and sides.ndim == 3:
                self._count_classes(sides.argmax(2), labels)
            self.reached[name] = self.images + n

        with evaluating(self.model), tap(self.layers.values(), receive):
            self.model(orbit)
        self.images += n
        self._check_finite(segments[-1][0])

    def _count_classes(self, predicted: Tensor, labels: Tensor | None) -> None:
        """Count the images whose predicted class stays and is right, of images and copies (1 + g, n)."""
        original, copies = predicted[0], predicted[1 : 1 + len(self.transforms)]
        columns = {"agreement": (copies == original, torch.ones_like(original, dtype=torch.bool))}
        if labels is not None:
            right = predicted == labels.to(self.device)
            columns["top1"] = right[1 : 1 + len(self.transforms)], right[0]
            self.correct = (self.correct or 0) + int(right[0].sum())
        for column, (each, always) in columns.items():
            worst: dict[str, Tensor] = {}
            for g, kept in zip(self.transforms, each, strict=True):
                self.felt[column, g.name, g.element] += int(kept.sum())
                worst[g.name] = worst.get(g.name, always) & kept
            for name, kept in worst.items():
                self.felt[f"{column}_worst", name, ""] += int(kept.sum())

    def _compared(self, layer: Layer, reading: str, sides: Tensor) -> dict[Key, PairStatistics | linear.Gram]:
        """Of the maps of images and all their copies (1 + g, n, c, ...) the sums of each transformation."""
        most = CPU_VALUES if self.device.type == "cpu" else GPU_VALUES
        found: list[PairStatistics] = []
        grams: dict[Key, linear.Gram] = {}
        fitted = self._fitted(layer, reading)
        for chunk in chunks(sides.shape[1], layer.channels, sides[0, 0].numel(), most):
            original, *copies = sides[:, chunk]
            if not found:
                empty = self._kind(layer, reading).start(original, self.similarity)
                found = [empty, *(empty.copy() for _ in self.copies[1:])]
            whole = None
            for pairs, transform, copy in zip(found, self.copies, copies, strict=True):
                # Behind global pooling there is no position left to transform.
                aligned = transform.align(copy, original, layer.stride) if copy.ndim == 4 else (copy, original)
                if aligned is None:
                    continue
                moved = [
                    map_.untyped_storage().data_ptr() != sides.untyped_storage().data_ptr() for map_ in aligned
                ]
                a = pairs.side(aligned[0], False, owned=moved[0])
                shared = aligned[1] is original
                b = whole if shared and whole else pairs.side(aligned[1], True, owned=moved[1])
                if fitted and not (shared and whole):
                    key = _own_key(layer.name, None if shared else transform, reading)
                    grams.setdefault(key, linear.Gram()).add(b)
                whole = b if shared else whole
                pairs.add(a, b)
        pairs_of = {_key(layer.name, g, reading): pairs for g, pairs in zip(self.copies, found, strict=True)}
        return {**pairs_of, **grams}

    def _fitted(self, layer: Layer, reading: str) -> bool:
        """Whether the third score of a layer is there."""
        narrow = layer.channels <= linear.MOST_CHANNELS
        return "linear" in self.scores and narrow and (layer.size == (1, 1) or reading in linear.OVER)

    def _readings(self, layer: Layer) -> tuple[str, ...]:
        """Behind global pooling, where a map has one position, there is one: a similarity over the images."""
        return self.readings[:1] if layer.size == (1, 1) else self.readings

    def _kind(self, layer: Layer, reading: str) -> type[PairStatistics]:
        return DatasetStatistics if layer.size == (1, 1) else READINGS[reading]

    def _empty(self, layer: Layer, reading: str) -> PairStatistics:
        return self._kind(layer, reading)(layer.channels, self.device, similarity=self.similarity)

    def _block(self, index: int) -> dict[Key, Any]:
        if index not in self.blocks:
            block: dict[Key, Any] = {}
            for name, layer in self.layers.items():
                for reading in self._readings(layer):
                    block |= {_key(name, g, reading): self._empty(layer, reading) for g in self.copies}
                    if self._fitted(layer, reading):
                        block |= {_own_key(name, g, reading): linear.Gram() for g in (None, *self.copies)}
            self.blocks[index] = block
        return self.blocks[index]

    def _segments(self, n: int) -> Iterator[tuple[int, slice]]:
        """The blocks of the next n images, and which of them belong to each; a single left-over goes along."""
        start, size = self.first_image + self.images, self.block_size
        end = start + n - n % 2
        cuts = [start, *range(start // size * size + size, end, size), end]
        for first, last in pairwise(cuts):
            stop = last + n % 2 if last == end else last
            yield first // size, slice(first - start, stop - start)

    def _coarsen_to(self, more: int) -> None:
        """Blocks large enough that with so many more images there are not too many of them."""
        end = self.first_image + self.images + more
        end = max(end // 2 * 2, *((index + 1) * self.block_size for index in self.blocks), 2)
        while math.ceil(end / self.block_size) > self.blocks_at_most:
            self._coarsen()

    def _coarsen(self) -> None:
        """Join blocks 2i and 2i + 1."""
        self.block_size *= 2
        joined: dict[int, dict[Key, Any]] = {}
        for index in sorted(self.blocks):
            block = self.blocks[index]
            if index // 2 in joined:
                for key, pairs in joined[index // 2].items():
                    pairs.merge(block[key])
            else:
                joined[index // 2] = block
        self.blocks = joined

    def _check_finite(self, index: int) -> None:
        """Refuse NaN and infinity, naming the first layer that has them."""
        block, g, reading = self.blocks[index], self.transforms[0], self.readings[0]
        sums = torch.stack([block[_key(name, g, reading)].total.sum() for name in self.layers])
        for name, finite in zip(self.layers, sums.isfinite().tolist(), strict=True):
            if not finite:
                raise UserError(
                    f"{type(self.model).__name__}: the feature maps of layer {name} hold NaN or infinity, or "
                    "numbers too large to square; "
                    "look at the weights and at how the images are normalised"
                )

    def _whole(self, key: Key) -> PairStatistics:
        whole = self._empty(self.layers[key[0]], key[3])
        for block in self.blocks.values():
            whole.merge(block[key])
        return whole

    def _rows(self, layer: Layer, transform: Transformation, reading: str) -> Iterator[dict[str, Any]]:
        key = _key(layer.name, transform, reading)
        whole = self._whole(key)
        parts: list[PairStatistics] = [self.blocks[index][key] for index in sorted(self.blocks)]
        parts = [part for part in parts if part.images]
        control = self._control(layer, transform, reading)
        without, held_out = [], []
        for part in parts if len(parts) > 1 else ():
            r = (others := whole.without(part)).similarities()
            without.append(others.values(r))
            held_out.append(part.held_out(r.nan_to_num(-2).argmax(1), whole))
        fitted = cross_fitted(whole, held_out)
        sizes = [part.images for part in parts]
        common = {
            "layer": layer.name,
            "index": layer.index,
            "part": layer.part,
            "stride": math.nan if layer.stride is None else layer.stride,
            "transform": transform.name,
            "element": transform.element,
            "similarity": self.similarity,
            "activation": whole.activation() / self.scales.get(layer.name, 1.0) if whole.images else math.nan,
            "images": self.images,
            "channels": layer.channels,
            "dead_channels": int(whole.dead().sum()),
            "live": whole.live_share(),
        }
        if layer.name == "final":
            common |= self._shares(transform)
        found = {
            name: (*pair, fitted[name], [each[name] for each in without]) for name, pair in whole.scores().items()
        }
        if "linear" in self.scores:
            one = self._linear(layer, transform, reading)
            found["linear"] = one.value, one.chance, one.value, one.without
        for score in self.scores:
            value, chance, fitted_value, values = found[score]
            half = half_width(value, values, sizes) if len(values) > 1 else math.nan
            lower_end = min(value, fitted_value)  # NaN stays NaN
            low, high = max(lower_end - half, 0.0), min(value + half, 1.0)
            ends = {"value": value, "cross_fitted": fitted_value, "chance": chance, "low": low, "high": high}
            yield common | {"measure": score, "control": control.get(score, math.nan)} | ends

    def _control(self, layer: Layer, transform: Transformation, reading: str) -> dict[str, float]:
        """The scores of the control of a transformation; empty where it has none."""
        if transform not in self.controls:
            return {}
        control = self.controls[transform]
        scores = self._whole(_key(layer.name, control, reading)).scores()
        found = {name: value for name, (value, _) in scores.items()}
        if "linear" in self.scores:
            found["linear"] = self._linear(layer, control, reading).value
        return found

    def _linear(self, layer: Layer, transform: Transformation, reading: str) -> linear.Linear:
        """The third score; NaN where it is not there."""
        if not self._fitted(layer, reading):
            return linear.UNKNOWN
        whole, parts = self._products(layer, transform, reading)
        return linear.linear(parts, ~whole.dead()) if parts else linear.UNKNOWN

    def _products(
        self, layer: Layer, transform: Transformation, reading: str
    ) -> tuple[PairStatistics, list[linear.Products]]:
        """The statistics of all images, and for each block the sums of products that linear predictions need."""
        key = _key(layer.name, transform, reading)
        whole, parts = self._whole(key), []
        for block in (self.blocks[index] for index in sorted(self.blocks)):
            gram = block[_own_key(layer.name, transform, reading)]
            gram = block[_own_key(layer.name, None, reading)] if gram.products is None else gram
            if block[key].images:
                cross, chance, squares, mean = block[key].centred(whole)
                parts.append(linear.Products(cross, chance, gram.about(mean), squares))
        return whole, parts

    def _shares(self, transform: Transformation) -> dict[str, float]:
        """The shares of images whose predicted class stays, and is right."""
        shares = {}
        for column in ("agreement", "top1"):
            for key in ((column, transform.name, transform.element), (f"{column}_worst", transform.name, "")):
                shares[key[0]] = self.felt[key] / self.images if key in self.felt else math.nan
        return shares

    @torch.inference_mode()
    def in_sample(self, layer: str, transform: Transformation, over: str | None = None) -> dict[str, float]:
        """All three scores of a layer, `linear` fitted and judged on the same images: so they are nested exactly.

        Args:
            over: the reading; None: the first one that is measured.

        Raises:
            UserError: `linear` is not measured there.
        """
        there = self._readings(self.layers[layer])
        reading = over if over in there else there[0]
        if not self.images or not self._fitted(self.layers[layer], reading):
            raise UserError(f"there is no linear score of {layer} over {reading}: see the argument scores")
        with self._with_held():
            whole, parts = self._products(self.layers[layer], transform, reading)
            together = parts[0]
            for part in parts[1:]:
                together = together.plus(part)
            return whole.values(whole.similarities()) | {"linear": linear.in_sample(together, ~whole.dead())}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and every module's own mode again afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def affordable_images(images: int, device: torch.device, image: Tensor, copies: int) -> int:
    """The images of a batch, on a CPU fewer of large ones: there memory that runs out is not refused, it kills."""
    if device.type != "cpu":
        return images
    return min(images, max(2, CPU_PIXELS // (copies * image[0].numel())))


def affordable_blocks(layers: Sequence[Layer], elements: int, blocks: int, fitted: bool = False) -> int:
    """As many blocks of images as asked for, or fewer where their statistics would take more than `MEMORY`."""
    return next((each for each in range(blocks, 1, -1) if memory(layers, elements, each, fitted) <= MEMORY), 1)


def affordable_layers(layers: Sequence[Layer], elements: int) -> tuple[list[Layer], dict[str, str]]:
    """The layers whose statistics of one block take at most `MEMORY`, and why the others are left out.

    Raises:
        UserError: there are none.
    """
    needed = {layer.name: memory([layer], elements, 1) for layer in layers}
    reasons = {
        name: f"the sums of all pairs of its channels need {size / 2**30:.0f} GiB"
        for name, size in needed.items()
        if size > MEMORY
    }
    if layers and len(reasons) == len(layers):
        raise UserError("every layer has too many channels: " + "; ".join(map(": ".join, reasons.items())))
    return [layer for layer in layers if layer.name not in reasons], reasons


def memory(layers: Sequence[Layer], elements: int, blocks: int, fitted: bool = False) -> int:
    """Bytes that the statistics take at the most.

    Those of all blocks; while they are filled, those of one layer once more in float32; while scores are computed,
    of one layer the whole, the whole without a block, and its similarities with what computing them takes.

    Args:
        fitted: with those of `linear`, for transformations that share none of them.
    """
    sizes = [layer.channels * (layer.channels + len(chance_channels(layer.channels))) for layer in layers]
    kept = sum(12 * size for size in sizes)  # float64, and numbers of images in float32
    if fitted:
        kept += sum(8 * layer.channels**2 for layer in layers if layer.channels <= linear.MOST_CHANNELS)
    return elements * blocks * kept + max(sizes, default=0) * max(8 * elements, 40)


def chunks(images: int, channels: int, size: int, most: int = CPU_VALUES) -> Iterator[slice]:
    """Cut a batch so that what is compared at a time suits the processor: on a CPU, fits into its cache.

    Not finer than 16 positions a channel, for the sums have to be read and written as well. Chunks are of even
    size, so that the pairs of the chance level stay together; three images stay together too.

    Args:
        size: values of one image's map.
        most: values of a side.
    """
    step = max(most // size, 16 * channels**2 // size, 1)
    cuts = [*range(0, images - 1, 2 * math.ceil(step / 2)), images]
    return (slice(*cut) for cut in pairwise(cuts))


def _key(layer: str, g: Transformation, reading: str) -> Key:
    return layer, g.name, g.element, reading


def _own_key(layer: str, g: Transformation | None, reading: str) -> Key:
    """Of the sums of products of T_g f(x) with itself; None: of f(x)."""
    return (layer, g.name, g.element, reading + OWN) if g else (layer, "", "", reading + OWN)


def _check(
    readings: Sequence[str],
    similarity: str,
    scores: Sequence[str],
    transforms: Sequence,
    blocks: int,
    batch_size: int,
    first_image: int,
) -> None:
    """Raises: UserError, where an argument of `Equivariance` is not as said."""
    words: list[tuple[str, str, tuple[str, ...]]] = [("similarity", similarity, SIMILARITIES)]
    words += [("over", each, OVER) for each in readings or ("",)]
    words += [("scores", each, NESTED) for each in scores or ("",)]
    for key, word, known in words:
        if word not in known:
            raise UserError(f"{key}={word}: choose {', '.join(known)}")
    if not transforms:
        raise UserError("transforms is empty: give at least one, such as equivariance.rotations()")
    elements = [(transform.name, transform.element) for transform in transforms]
    if twice := sorted(
        {f"{name} by {element}" for name, element in elements if elements.count((name, element)) > 1}
    ):
        raise UserError(f"transforms: {', '.join(twice)} is there twice")
    if "linear" in scores and not set(readings) & set(linear.OVER):
        raise UserError(f"linear needs over={' or '.join(linear.OVER)}, this is {', '.join(readings)}")
    for key, value, least in (
        ("blocks", blocks, 1),
        ("batch_size", batch_size, 1),
        ("first_image", first_image, 0),
    ):
        if not isinstance(value, int) or value < least:
            raise UserError(f"{key}={value}: needs a whole number from {least} on")
    if first_image % 2:
        raise UserError(f"first_image={first_image}: needs an even number, as images 2i and 2i + 1 belong together")


def place(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and type of the network's parameters; the CPU and float32 for a network that has none."""
    for value in (*model.parameters(), *model.buffers()):
        if value.is_floating_point():
            return value.device, value.dtype
    return torch.device("cpu"), torch.float32


def batches(images: Any, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Images and labels, whichever way they are given."""
    if isinstance(images, Tensor | np.ndarray):
        images = torch.as_tensor(images)
        yield from ((images[start : start + size], None) for start in range(0, len(images), size))
        return
    for batch in images:
        pair = batch if isinstance(batch, tuple | list) else (batch, None)
        if len(pair) < 2:
            pair = (*pair, None)
        if len(pair[0]):
            yield torch.as_tensor(pair[0]), None if pair[1] is None else torch.as_tensor(pair[1])


def _chain(first: Any, others: Iterable) -> Iterator:
    yield first
    yield from others


__all__ = ["SCORES", "Equivariance", "measure"]
