"""The metric: how alike are the feature maps of an image and of its transformed copies?"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from itertools import product
from threading import RLock
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.layers.find import Layer, explained, find_layers, tap
from equivariance.layers.record import evaluating, readable
from equivariance.metric import inputs
from equivariance.metric.memory import affordable_blocks, affordable_images, affordable_layers
from equivariance.metric.partners import partners
from equivariance.metric.predictions import Predictions
from equivariance.metric.premises import FEWER, kept_buffers, logits_of, probe
from equivariance.metric.sums import Sums
from equivariance.metric.table import ScoreTable
from equivariance.names import NESTED, OVER, PARTS, SCORE_COLUMNS, SCORES, SIMILARITIES
from equivariance.statistics import linear
from equivariance.statistics.image_blocks import Blocks
from equivariance.transforms.protocol import Transformation, preparation, several

PART_COLUMNS = ["part", "transform", "over", "score", "value", "cross_fitted", "low", "high"]
RAW = 20  # values above it, and none below 0, are rarely those that a network was trained with
ALIKE = 0.01  # relative difference of a layer's magnitudes on two devices
Totals = dict[str, list[Tensor]]  # by layer, sums of all its maps
ONE_AT_A_TIME = RLock()  # hooks and evaluation mode belong to a network, not to the thread that measures it


class Equivariance:
    """Scores of all layers under all transformations, from statistics that are filled inside forward hooks.

    Every image enters the scores at once. Images 2i and 2i + 1 of the stream give the chance level together; a last
    one without a neighbour has no part in it, and one image alone no chance level. The images are cut into blocks,
    each with statistics of its own, at most `blocks` of them: of 2, 4, 8, ... images, as many as it takes. Merged,
    they give the scores; leaving out one at a time gives the confidence interval. Nothing depends on the batches in
    which the images come.

    The layers are found with the first batch. Then the network runs on a few images, alone and among others, twice:
    if its maps are not the same each time it is refused: its scores would depend on chance or on the batches.

    A transformation that interpolates has a `control`, which is measured beside it. Several threads may measure one
    network: they wait for each other.

    Args:
        model: on its device; measured in evaluation mode and left as it was.
        transforms: the set G, one or several, without the identity.
        layers: patterns of module names, or layers that `find_layers` has found; None: stem, blocks, pool, final.
        over: over what a similarity runs, see `statistics`: one of `names.OVER`, or several.
        similarity: pearson or cosine.
        scores: of `names.NESTED`. `linear` is there over image and dataset, with at least two blocks, and for
            layers of at most `linear.MOST_CHANNELS` channels; elsewhere it is NaN.
        blocks: at most so many blocks of images; 1 for no interval.
        batch_size: images of a forward pass, each with all its copies; fewer where the memory is too small.

    Attributes:
        layers: what is measured, by name; known from the first batch on, as what follows.
        left_out: names of layers that are not measured, and why.
        too_wide: names of layers that have too many channels for `linear`; none where it is not asked for.
        classes: how many logits the network has, None where its output is none.

    Raises:
        UserError: an argument is not as said; with the first batch, the network has no such layer, or a premise of
            the measure does not hold for it.
    """

    def __init__(
        self,
        model: nn.Module,
        transforms: Transformation | Sequence[Transformation],
        layers: Sequence[str | nn.Module | Layer] | None = None,
        *,
        over: str | Sequence[str] = "image",
        similarity: str = "pearson",
        scores: Sequence[str] = SCORES,
        blocks: int = 10,
        batch_size: int = 250,
    ):
        readings, scores = (tuple(x) if isinstance(x, list | tuple) else (x,) for x in (over, scores))
        _check(readings, similarity, scores)
        self.model, self.readings, self.similarity = readable(model), readings, similarity
        self.transforms = several(transforms)
        self.scores = tuple(score for score in NESTED if score in scores)
        self.arguments: dict[str, Any] = {"layers": layers, "over": readings, "similarity": similarity}
        self.arguments |= {"scores": scores, "blocks": blocks, "batch_size": batch_size}
        self.blocks_at_most = inputs.whole("blocks", blocks)
        self.batch_size = inputs.whole("batch_size", batch_size)
        self.controls = {g: g.control for g in self.transforms if hasattr(g, "control")}
        self.copies = [*self.transforms, *self.controls.values()]
        self.prepare = preparation(self.transforms)
        self.shape: tuple[int, ...] = ()  # of an image, once the layers are known
        self.layers: dict[str, Layer] = {}
        self.left_out: dict[str, str] = {}
        self.too_wide: list[str] = []
        self.classes: int | None = None
        self.reset()

    def reset(self, start: int = 0) -> None:
        """Forget all images.

        Args:
            start: the index of the first image that will come, where several metrics share a stream and are merged
                afterwards: then their blocks are those of the whole, and where it is even their pairs as well.
        """
        self.start, self.broken = start, False
        self.predictions, self.reached = Predictions(), dict.fromkeys(self.layers, 0)
        self.first: list[str] = []  # digests of the first image, of this metric and of all that were merged
        if self.shape:
            self.blocks = Blocks(self.sums.empty, self.blocks_at_most, start)

    @torch.no_grad()
    def setup(self, example: Tensor | np.ndarray) -> None:
        """Find the layers on an image (c, h, w), or a batch of them; `update` does it with its first batch.

        Raises:
            UserError: see the class.
        """
        images = images_for(self.model, example if example.ndim == 4 else example[None])
        image, self.dtype = images[:1], images.dtype
        if images.is_floating_point() and images.min() >= 0 and images.max() > RAW:
            text = f"images of numbers up to {images.max():g}: are they normalised as the network expects?"
            warnings.warn(text, stacklevel=2)
        with ONE_AT_A_TIME, kept_buffers(self.model):
            there = find_layers(self.model, image[0], self.arguments["layers"])
            elements = len(self.copies) * len(self.readings)
            found, too_wide = affordable_layers(there, elements)
            self.probe = probe(self.model, found, there.logits, image, self.prepare)
        for transform in self.transforms:
            transform.check(*image.shape[-2:])
        self.left_out, self.logits = there.left_out | too_wide, there.logits
        self.layers, self.classes = {layer.name: layer for layer in found}, self.probe.classes
        fitted, device = "linear" in self.scores, image.device
        self.too_wide = [each.name for each in found if fitted and each.channels > linear.MOST_CHANNELS]
        self.blocks_at_most = affordable_blocks(found, elements, self.blocks_at_most, fitted)
        self.batch_size = affordable_images(self.batch_size, device, image[0], 1 + len(self.copies))
        which = self.readings, self.similarity, fitted
        self.sums = Sums(self.layers, self.copies, *which, device, self.probe.scales)
        self.shape = tuple(image.shape[1:])
        self.reset(self.start)

    @property
    def images(self) -> int:
        """How many are in the statistics so far."""
        return self.blocks.images if self.shape else 0

    @property
    def accuracy(self) -> float:
        """The share of the labelled images whose class is that of their label; NaN without labels."""
        return self.predictions.share("correct")

    @torch.no_grad()
    def update(self, images: Tensor | np.ndarray, labels: Tensor | np.ndarray | None = None) -> None:
        """Add images (n, c, h, w), any number of them; labels (n,) where the logits are their classes.

        Out of memory, the forward passes are halved and the measurement goes on; no result depends on it.

        Raises:
            UserError: the images are none, or of another size than those before; not even two and their copies fit
                into memory; one, or a map, holds NaN. After a map, only `reset` helps.
        """
        self._check_whole()
        images = images_for(self.model, images)
        labels = None if labels is None else inputs.labels(labels, len(images))
        finite = images.isfinite().flatten(1).all(1)
        if not finite.all():
            index = self.start + self.images + int(finite.int().argmin())
            raise UserError(f"image {index} (from 0 on) holds NaN or infinity")
        with ONE_AT_A_TIME:
            if not self.shape:
                self.setup(images)
            inputs.of_one_size(images.shape[1:], self.shape)
            if labels is not None and self.classes and labels.max() >= max(self.classes, 2):
                raise UserError(f"labels: {labels.max()}, but there are {self.classes} classes; give images alone")
            if not self.first:
                self.first = [hashlib.sha256(images[0].cpu().float().numpy().tobytes()).hexdigest()]
            self.broken = True
            with explained(self.model, images[:1]):
                self._add(images, labels)
            self.broken = False

    def __call__(self, images: Tensor | np.ndarray, labels: Tensor | np.ndarray | None = None) -> pd.DataFrame:
        """`update`, and the scores of these images alone, for which the network runs on them a second time."""
        self.update(images, labels)
        alone = type(self)(self.model, self.transforms, **self.arguments)
        alone.update(images, labels)
        return alone.compute()

    def to(self, device: torch.device | str) -> "Equivariance":
        """Move the network and the statistics to a device; returns the metric itself."""
        saved = self.__getstate__()
        self.model.to(device)
        self.__setstate__(saved)
        return self

    def plot(self, axes: Any = None) -> Any:
        """Draw the scores so far by depth, see `plot_depth`; returns the axes."""
        from equivariance.figures.depth import plot_depth  # here, as nothing else of a metric needs Matplotlib

        return plot_depth(self.compute(), axes)

    def __repr__(self) -> str:
        layers = f"{len(self.layers)} layers" if self.shape else "layers not known yet"
        given = f"{type(self.model).__name__}, {len(self.transforms)} transformations"
        return f"Equivariance({given}, {layers}, {self.images} images)"

    @torch.no_grad()
    def merge_state(self, other: "Equivariance | dict[str, Any]") -> None:
        """Add what another metric, or the `state_dict()` of one, has measured on other images.

        Scores and intervals are those of the whole stream where the others' `reset` was given their first index;
        the chance level too, where that is even. Otherwise each metric has blocks and pairs of its own.

        Raises:
            UserError: the state is that of another version, of a metric with other arguments or of another network,
                or begins with the same image.
        """
        self._check_whole()
        state = other.state_dict() if isinstance(other, Equivariance) else other
        self._check_state(state)
        if set(self.first) & set(state["first"]):
            raise UserError("both metrics begin with the same image: merge those of different images")
        self.blocks.merge(state, self.sums.device)
        self.start, self.first = self.blocks.start, self.first + state["first"]
        self.predictions.counts.update(state["predictions"])
        for name, images in state["reached"].items():
            self.reached[name] += images

    def _check_state(self, state: dict[str, Any]) -> None:
        """Raises: UserError, see `merge_state`. Finds the layers, where they are not known yet."""
        keys = ("measured", "magnitudes", "first", "reached", "predictions", "held", "block_size")
        if missing := [key for key in keys if key not in state]:
            raise UserError(f"these statistics lack {', '.join(missing)}: another version saved them, measure anew")
        if not self.shape:
            self.setup(torch.zeros(state["measured"]["images"], dtype=state.get("dtype")))
        mine, theirs = self._measured(), state["measured"]
        for key in mine:
            if mine[key] != theirs[key]:
                raise UserError(f"metrics of other {key} cannot be merged: {mine[key]} and {theirs[key]}")
        for name, magnitude in self.probe.magnitudes.items():
            if abs(state["magnitudes"][name] - magnitude) > ALIKE * magnitude:
                raise UserError(f"metrics of two networks cannot be merged: layer {name} has other maps")

    def state_dict(self) -> dict[str, Any]:
        """The statistics as tensors and plain values, with the one image whose neighbour has not come yet.

        Raises:
            UserError: the layers are not known yet.
        """
        self._check_whole()
        if not self.shape:
            raise UserError("nothing has been measured: there are no statistics to save")
        about = {"measured": self._measured(), "magnitudes": self.probe.magnitudes, "dtype": self.dtype}
        counts = {"first": self.first, "reached": dict(self.reached), "predictions": dict(self.predictions.counts)}
        return about | counts | self.blocks.state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the `state_dict()` of a metric with the same arguments.

        Raises:
            UserError: as of `merge_state`.
        """
        self._check_state(state)  # before anything is lost
        self.reset()
        self.merge_state(state)

    def __getstate__(self) -> tuple:
        """Pickled as its arguments and its statistics: the layers are found again."""
        state = self.state_dict() if self.shape else None
        return self.model, self.transforms, self.arguments, self.start, state

    def __setstate__(self, saved: tuple) -> None:
        model, transforms, arguments, start, state = saved
        self.__init__(model, transforms, **arguments)  # type: ignore[misc]
        self.reset(start)
        if state is not None:
            self.merge_state(state)

    def check_alive(self) -> None:
        """Raises: UserError, where no layer has a channel that has varied, so that there is no score."""
        g = self.transforms[0]
        if self.images and all(self.similarities(name, g).diagonal().isnan().all() for name in self.layers):
            raise UserError(
                f"{type(self.model).__name__}: no channel varies over the images, from layer "
                f"{next(iter(self.layers))} on; look at the weights and at how the images are normalised"
            )

    @torch.no_grad()
    def compute(self, level: float = 0.95) -> pd.DataFrame:
        """The scores so far: one row per layer, transformation and score, with the columns `names.SCORE_COLUMNS`.

        `value` is the score, `chance` the same statistic for pairs of different images, `cross_fitted` the value
        with partners chosen on other images, `low` to `high` the interval of this level over images (from
        `cross_fitted` less the jackknife's half width to `value` plus it; NaN with one block), `control` the score
        of the transformation's control (NaN for exact ones), `activation` the mean of f(x), `live` the mean share
        of channels that vary in an image by more than float32's rounding, 8 eps times their mean, `images` how many
        have reached the layer. Of the layer `final`, `agreement` is the share of images whose predicted class stays
        (of a single logit, its sign) and `top1` that of the labelled ones whose class is right (NaN without
        labels), `agreement_worst` and `top1_worst` under all elements at once; a `final` that is left out has these
        alone. All but `activation` and `stride` lie in [0, 1]; NaN where a layer has no live channel or no common
        position.

        Raises:
            UserError: there are no images yet, or the last update failed.
        """
        table = self._table(level)
        places = ((layer, over) for layer in self.layers.values() for over in self.sums.readings_of(layer))
        rows = [row for (layer, over), g in product(places, self.transforms) for row in table.rows(layer, g, over)]
        pooled = [row for row in rows if self.layers[row["layer"]].size == (1, 1)]
        rows += [row | {"over": over} for over in self.readings[1:] for row in pooled]
        rows = [row for row in rows if row["score"] != "linear" or row["over"] in linear.OVER]
        if "final" in self.left_out and self.classes:
            rows += table.predicted(len(self.layers), self.classes, self.transforms)
        return pd.DataFrame(rows, columns=SCORE_COLUMNS)

    @torch.no_grad()
    def brackets(self, parts: Sequence[str] = PARTS, level: float = 0.95) -> pd.DataFrame:
        """The scores so far of parts of the network: means over the elements of a transformation and over layers.

        One row per part, transformation, over and score, with value, cross_fitted, low and high as in `compute`;
        but the interval is that of the mean, each block left out of all layers at once.

        Args:
            parts: of `names.PARTS`; left out are those that have no layer, or none with a score.
            level: of the intervals.
        """
        table, rows = self._table(level), []
        names = dict.fromkeys(g.name for g in self.transforms)
        for part, name, over in product(parts, names, self.readings):
            there = [each for each in self.layers.values() if each.part == part]
            layers = [each for each in there if over in self.sums.readings_of(each)]
            of = [g for g in self.transforms if g.name == name]
            place = {"part": part, "transform": name, "over": over}
            rows += [place | row for row in table.of_part(layers, of, over)]
        return pd.DataFrame(rows, columns=PART_COLUMNS)

    def similarities(self, layer: str, element: float | str | Transformation, over: str | None = None) -> Tensor:
        """r (c, c) of a layer under a transformation: rows f(T_g x), columns T_g f(x); NaN for dead channels.

        Args:
            element: of the transformation, or itself where another one has the same element.
            over: one of those that are measured; None: the first.

        Raises:
            UserError: no transformation, or several ones, have this element.
        """
        found = [g for g in self.transforms if element in (g, g.element)]
        if len(found) != 1:
            raise UserError(f"{len(found)} of the transformations have the element {element}: give one of them")
        there = self.sums.readings_of(self.layers[layer])
        return self._table().whole(self.layers[layer], found[0], over if over in there else there[0]).similarities()

    @torch.no_grad()
    def partners(self) -> pd.DataFrame:
        """Which channel matched which one, see `metric.partners`: for all layers and transformations."""
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
        if not self.shape:
            self.setup(images)
        found: dict[str, Tensor] = {}
        images = self.prepare(images_for(self.model, images))
        with ONE_AT_A_TIME, explained(self.model, images[:1]), self._tapped(found.__setitem__):
            self.model(torch.cat([images, *(g.act(images) for g in transforms)]))
        return found

    def _table(self, level: float = 0.95) -> ScoreTable:
        """What the statistics say so far."""
        self._check_whole()
        if not self.images:
            raise UserError("no images have been measured yet: call update first")
        return ScoreTable(self.sums, self.blocks, self.predictions, self.reached, self.scores, self.controls, level)

    def _check_whole(self) -> None:
        if self.broken:
            raise UserError("the last update of this metric failed half way: call reset, and measure anew")

    def _measured(self) -> dict[str, Any]:
        """What metrics that are merged must have in common."""
        return {
            "transforms": [str(g) if is_dataclass(g) else f"{g.name} by {g.element}" for g in self.transforms],
            "layers": {name: (layer.channels, layer.size) for name, layer in self.layers.items()},
            "over": self.readings,
            "similarity": self.similarity,
            "scores": self.scores,
            "images": self.shape,
        }

    @contextmanager
    def _tapped(self, receive: Callable[[str, Tensor], None]) -> Iterator[None]:
        """Inside, a forward pass of the network hands over the maps of all layers."""
        with evaluating(self.model), tap(self.layers.values(), receive):
            yield

    def _add(self, images: Tensor, labels: Tensor | None) -> None:
        """Add images in forward passes that fit into memory and end between pairs."""
        at, passed, totals = 0, dict.fromkeys(self.layers, 0), Totals()
        while at < len(images):
            odd = (self.start + self.images) % 2
            now = slice(at, at + max(2, self.batch_size // 2 * 2) - odd)
            try:
                self._forward(images[now], None if labels is None else labels[now], passed, totals)
            except RuntimeError as error:
                if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                    raise
                size = len(images[now]) + odd
                if size <= 2:
                    raise UserError(
                        f"out of memory with {size} images and {len(self.copies)} copies of each: "
                        "measure fewer transformations at a time"
                    ) from error
                self.batch_size = max(2, size // 4 * 2)
                print(f"out of memory: batches of {self.batch_size} images from here on")
            else:
                at = now.stop
                self._check_finite(totals)

    def _forward(self, images: Tensor, labels: Tensor | None, passed: dict[str, int], totals: Totals) -> None:
        """One pass of images and their copies.

        Args:
            passed: up to where each layer has them already, from a pass that ran out of memory further on.
            totals: takes sums of all maps of each layer.
        """
        end, held = self.start + self.images + len(images), self.blocks.held
        again = held is not None
        images = images if held is None else torch.cat([held, images])
        parts = [*self.blocks.parts(len(images), again)]
        ready, n = self.prepare(images), len(images)
        orbit = torch.cat([ready, *(g.act(ready) for g in self.copies)])

        def receive(name: str, maps: Tensor) -> None:
            layer = self.layers[name]
            if passed[name] >= end:
                return
            if len(maps) != len(orbit):
                raise UserError(FEWER.format(name, len(maps), len(orbit)))
            by_copy = maps.unflatten(0, (-1, n))
            for index, part, pairs in parts:
                for over in self.sums.readings_of(layer):
                    sums = self.sums.of_maps(layer, over, by_copy[:, part], pairs)
                    totals.setdefault(name, []).extend(each.total.sum() for each in sums.values())
                    self.blocks.add(index, sums)
            passed[name] = end
            self.reached[name] += n - again

        with self._tapped(receive):
            logits = logits_of(self.model(orbit), self.logits, len(orbit))
        if logits is not None and self.classes:
            self.predictions.add(logits.unflatten(0, (-1, n))[:, int(again) :], labels, self.transforms)
        self.blocks.counted(images, again)

    def _check_finite(self, totals: Totals) -> None:
        """Refuse NaN and infinity, naming the first layer that has them."""
        sums = {name: torch.stack(each).sum() for name, each in totals.items() if each}
        finite = torch.stack([*sums.values()]).isfinite().tolist() if sums else []
        for name, is_finite in zip(sums, finite, strict=True):
            if not is_finite:
                raise UserError(
                    f"{type(self.model).__name__}: the feature maps of layer {name} hold NaN or infinity, or "
                    "numbers too large to square; look at the weights and at how the images are normalised"
                )


def _check(readings: Sequence[str], similarity: str, scores: Sequence[str]) -> None:
    """Raises: UserError, where an argument of `Equivariance` is not as said."""
    words: list[tuple[str, str, tuple[str, ...]]] = [("similarity", similarity, SIMILARITIES)]
    words += [("over", each, OVER) for each in readings or ("",)]
    words += [("scores", each, NESTED) for each in scores or ("",)]
    for key, word, known in words:
        if word not in known:
            raise UserError(f"{key}={word}: choose {', '.join(known)}")
    if "linear" in scores and not set(readings) & set(linear.OVER):
        raise UserError(f"linear needs over={' or '.join(linear.OVER)}, this is {', '.join(readings)}")


def images_for(model: nn.Module, given: Tensor | np.ndarray) -> Tensor:
    """Images (n, c, h, w) on the network's device and, where they are no whole numbers, of its type."""
    images, (device, dtype) = inputs.images(given), place(model)
    return images.to(device, dtype if images.is_floating_point() else images.dtype)


def place(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and type of the network's filters and matrices; the CPU and float32 for a network without numbers."""
    values = [value for value in (*model.parameters(), *model.buffers()) if value.is_floating_point()]
    if any(value.is_meta for value in values):
        raise UserError(f"{type(model).__name__} has no weights yet, its device is meta: load them first")
    value = next((value for value in values if value.ndim > 1), values[0] if values else torch.empty(0))
    return value.device, value.dtype
