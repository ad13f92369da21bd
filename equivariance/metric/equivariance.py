"""The metric: how alike are the feature maps of an image and of its transformed copies?"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.layers.find import Layer, find_layers, tap
from equivariance.layers.record import evaluating, readable
from equivariance.metric.memory import affordable_blocks, affordable_images, affordable_layers
from equivariance.metric.partners import partners
from equivariance.metric.predictions import Predictions
from equivariance.metric.sums import Sums, key_of
from equivariance.metric.table import ScoreTable
from equivariance.names import NESTED, OVER, SCORE_COLUMNS, SCORES, SIMILARITIES
from equivariance.statistics import linear
from equivariance.statistics.image_blocks import Blocks
from equivariance.transforms.protocol import Transformation, preparation, several

SMALL = 1e-10  # maps below it, and above its reciprocal, are scaled: squares in float32 end at 1e-38 and 1e38
STATE = ("images", "reached", "predictions", "block_size", "blocks")  # of `Equivariance.state_dict`


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
        transforms: the set G, one or several, without the identity.
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
        logits: the layer `final`, of which predictions are kept even where it is too wide to be measured.
        left_out: names of what is not measured, and why.
        too_wide: names of layers that have too many channels for `linear`; none where it is not asked for.
        images: how many are in the statistics so far.

    Raises:
        UserError: an argument is not as said, or the network has no such layer.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        transforms: Transformation | Sequence[Transformation],
        layers: Sequence[str | nn.Module | Layer] | None = None,
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
        _check(readings, similarity, scores, blocks, batch_size, first_image)
        self.model, self.readings, self.similarity = readable(model), readings, similarity
        self.transforms = several(transforms)
        self.scores = tuple(score for score in NESTED if score in scores)
        self.controls = {g: g.control for g in self.transforms if hasattr(g, "control")}
        self.copies = [*self.transforms, *self.controls.values()]
        self.prepare = preparation(self.transforms)
        self.device, self.dtype = place(self.model)
        image = self._images(example if example.ndim == 4 else example[None])[0]
        for transform in self.transforms:
            transform.check(*image.shape[-2:])
        there = find_layers(self.model, image, layers)
        self.left_out = dict(there.left_out)
        elements = len(self.copies) * len(readings)
        found, too_wide = affordable_layers(there, elements)
        self.left_out |= too_wide
        self.layers = {layer.name: layer for layer in found}
        self.logits = next((layer for layer in there if layer.name == "final"), None)
        fitted = "linear" in self.scores
        self.too_wide = [each.name for each in found if fitted and each.channels > linear.MOST_CHANNELS]
        self.blocks_at_most = affordable_blocks(found, elements, blocks, fitted)
        self.sums = Sums(self.layers, self.copies, readings, similarity, fitted, self.device, self._scales(image))
        self.batch_size = affordable_images(batch_size, self.device, image, 1 + len(self.copies))
        self.first_image = first_image
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self.images = 0
        self.predictions = Predictions()
        self.blocks = Blocks(self.sums.empty_block, self.blocks_at_most)
        self.reached = dict.fromkeys(self.layers, 0)  # images in the statistics of each layer
        self._held: tuple[Tensor, Tensor | None] | None = None

    @property
    def correct(self) -> int | None:
        """The images so far whose largest logit is that of their label; None without labels."""
        return self.predictions.correct

    @property
    def accuracy(self) -> float:
        """The share of images whose largest logit is that of their label; NaN without labels."""
        return math.nan if self.correct is None else self.correct / self.images

    @torch.no_grad()
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
            earlier = self.images + (0 if self._held is None else len(self._held[0]))
            index = self.first_image + earlier + int(finite.int().argmin())
            raise UserError(f"image {index} (from 0 on) holds NaN or infinity")
        if self._held is not None:
            before, their_labels = self._held
            images = torch.cat([before, images])
            labels = None if labels is None or their_labels is None else torch.cat([their_labels, labels])
        ready = max(0, len(images) - 2) // 2 * 2
        self._add(images[:ready], None if labels is None else labels[:ready])
        self._held = (images[ready:], None if labels is None else labels[ready:])

    @torch.no_grad()
    def merge_state(self, other: "Equivariance | dict[str, Any]") -> None:
        """Add what another metric, or the `state_dict()` of one, has measured on other images.

        Raises:
            UserError: the state is that of another version.
        """
        if isinstance(other, Equivariance):
            other.finish()
            other = other.state_dict()
        if missing := [key for key in STATE if key not in other]:
            raise UserError(
                f"these statistics lack {', '.join(missing)}: another version has saved them, measure anew"
            )
        self.finish()
        self.blocks.merge(other, self.device)
        self.images += other["images"]
        self.predictions.merge(other["predictions"])
        self.blocks.make_room(self.first_image + self.images)

    def state_dict(self) -> dict[str, Any]:
        """The statistics as tensors and plain values, without the images that are held back."""
        counts = {"images": self.images, "reached": dict(self.reached), "predictions": self.predictions.state()}
        return counts | self.blocks.state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the `state_dict()` of a metric with the same arguments.

        Raises:
            UserError: the state is that of another version.
        """
        self.reset()
        self.merge_state(state)
        self.reached = dict(state["reached"])

    @torch.no_grad()
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

    def dead_layers(self) -> list[str]:
        """The layers no channel of which has varied over the images in the statistics so far."""
        g, table = self.transforms[0], self._table()
        return [
            name
            for name, layer in self.layers.items()
            if table.whole(layer, g, self.sums.readings_of(layer)[0]).dead().all()
        ]

    @torch.no_grad()
    def compute(self) -> pd.DataFrame:
        """The scores so far: one row per layer, transformation and score, with the columns `names.SCORE_COLUMNS`.

        `value` is the score, `chance` the same statistic for pairs of different images, `cross_fitted` the value
        with partners chosen on other images, `low` to `high` the 95 % interval over images (from `cross_fitted`
        less the jackknife's half width to `value` plus it; NaN with one block), `control` the score of the
        transformation's control (NaN for exact ones), `activation` the mean of f(x), `live` the mean share of
        channels that have variance in an image. Of the layer `final`, `agreement` is the share of images whose
        predicted class stays and `top1` that of those whose class is right (NaN without labels), `agreement_worst`
        and `top1_worst` under all elements at once. All but `activation` and `stride` lie in [0, 1]; NaN where a
        layer has no live channel or no common position.
        """
        with self._with_held() as table:
            rows = [
                row
                for layer in self.layers.values()
                for reading in self.sums.readings_of(layer)
                for g in self.transforms
                for row in table.rows(layer, g, reading)
            ]
            spatial = {name for name, layer in self.layers.items() if layer.size != (1, 1)}
            if self.logits and "final" not in self.layers:
                rows += [
                    row
                    for g in self.transforms
                    for row in table.without_statistics(self.logits, g, self.readings[0])
                ]
        pooled = [row for row in rows if row["layer"] not in spatial]
        rows += [row | {"over": over} for over in self.readings[1:] for row in pooled]
        rows = [row for row in rows if row["score"] != "linear" or row["over"] in linear.OVER]
        return pd.DataFrame(rows, columns=SCORE_COLUMNS)

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
        reading = self._reading(layer, over)
        return self._table().whole(self.layers[layer], found[0], reading).similarities()

    @torch.no_grad()
    def in_sample(self, layer: str, transform: Transformation, over: str | None = None) -> dict[str, float]:
        """All three scores of a layer, `linear` fitted and judged on the same images: so they are nested exactly.

        Args:
            over: the reading; None: the first one that is measured.

        Raises:
            UserError: `linear` is not measured there.
        """
        reading = self._reading(layer, over)
        if not self.images or not self.sums.fits(self.layers[layer], reading):
            raise UserError(f"there is no linear score of {layer} over {reading}: see the argument scores")
        with self._with_held() as table:
            return table.in_sample(self.layers[layer], transform, reading)

    @torch.no_grad()
    def partners(self) -> pd.DataFrame:
        """Which channel matched which one, see `channel_matching.partners`: for all layers and transformations."""
        with self._with_held():
            return pd.concat(
                partners(name, layer.index, g.name, g.element, self.similarities(name, g))
                for name, layer in self.layers.items()
                for g in self.transforms
            )

    @torch.no_grad()
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

    def _reading(self, layer: str, over: str | None) -> str:
        there = self.sums.readings_of(self.layers[layer])
        return over if over in there else there[0]

    def _table(self) -> ScoreTable:
        """What the statistics say so far."""
        return ScoreTable(self.sums, self.blocks, self.predictions, self.images, self.scores, self.controls)

    @contextmanager
    def _with_held(self) -> Iterator[ScoreTable]:
        """Inside, the images that are held back are in the statistics; afterwards they are held back again."""
        if self._held is None or not len(self._held[0]):
            yield self._table()
            return
        start, more = self.first_image + self.images, len(self._held[0])
        self.blocks.make_room(start + more)  # which as many more images would have done as well
        (index, _), *_ = self.blocks.segments(start, more)
        kept = self.blocks.copy_of(index)
        before = self._held, self.images, deepcopy(self.predictions), dict(self.reached)
        self.finish()
        try:
            yield self._table()
        finally:
            self._held, self.images, self.predictions, self.reached = before
            self.blocks.put_back(index, kept)

    def _images(self, images: Tensor | np.ndarray) -> Tensor:
        images = torch.as_tensor(images)
        if images.ndim != 4 or not len(images):
            raise UserError(f"images of shape {tuple(images.shape)}: give (n, c, h, w) with n from 1 on")
        return images.to(self.device, self.dtype if images.is_floating_point() else images.dtype)

    @torch.no_grad()
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
        """One pass of images and their copies; `reached` says which layers had them before it ran out of memory."""
        n, start = len(images), self.first_image + self.images
        self.blocks.make_room(start + n)
        images = self.prepare(images)
        orbit = torch.cat([images, *(g.act(images) for g in self.copies)])
        segments = list(self.blocks.segments(start, n))

        def receive(name: str, maps: Tensor) -> None:
            if self.reached.get(name, 0) >= self.images + n:
                return
            by_copy = maps.unflatten(0, (-1, n))
            for index, part in segments if name in self.layers else ():
                for reading in self.sums.readings_of(self.layers[name]):
                    self.blocks.add(index, self.sums.of_maps(self.layers[name], reading, by_copy[:, part]))
            if name == "final" and by_copy.ndim == 3:
                self.predictions.add(by_copy.argmax(2), labels, self.transforms)
            self.reached[name] = self.images + n

        tapped = self.layers | ({"final": self.logits} if self.logits else {})
        with evaluating(self.model), tap(tapped.values(), receive):
            self.model(orbit)
        self.images += n
        self._check_finite(segments[-1][0])

    def _check_finite(self, index: int) -> None:
        """Refuse NaN and infinity, naming the first layer that has them."""
        block, g, reading = self.blocks[index], self.transforms[0], self.readings[0]
        sums = torch.stack([block[key_of(layer, g, reading)].total.sum() for layer in self.layers.values()])
        for name, finite in zip(self.layers, sums.isfinite().tolist(), strict=True):
            if not finite:
                raise UserError(
                    f"{type(self.model).__name__}: the feature maps of layer {name} hold NaN or infinity, or "
                    "numbers too large to square; look at the weights and at how the images are normalised"
                )


def _check(
    readings: Sequence[str],
    similarity: str,
    scores: Sequence[str],
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
