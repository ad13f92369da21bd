"""From the statistics of all blocks of images to the rows of a table: scores, chance levels, intervals."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any

from torch import Tensor

from equivariance.layers.find import Layer
from equivariance.metric.predictions import Predictions
from equivariance.metric.sums import OWN, Sums, key_of
from equivariance.statistics import linear
from equivariance.statistics.image_blocks import CHANCE, TRUE, Blocks
from equivariance.statistics.intervals import Score, cross_fitted, half_width
from equivariance.statistics.moments import Moments
from equivariance.transforms.protocol import Transformation

Row = dict[str, Any]


@dataclass(frozen=True)
class ScoreTable:
    """What the statistics of a stream of images say.

    Args:
        reached: how many images have reached each layer, by its name.
        controls: of the transformations that have one.
        level: of the intervals.
    """

    sums: Sums
    blocks: Blocks
    predictions: Predictions
    reached: Mapping[str, int]
    scores: tuple[str, ...]
    controls: Mapping[Transformation, Transformation]
    level: float = 0.95

    def whole(self, layer: Layer, g: Transformation, over: str, pairs: str = TRUE) -> Moments:
        """The statistics of all images."""
        return self.blocks.whole(key_of(layer, g, over, pairs))

    def rows(self, layer: Layer, g: Transformation, over: str) -> Iterator[Row]:
        """One row per score, with the columns `names.SCORE_COLUMNS`."""
        whole = self.whole(layer, g, over)
        common = {
            "layer": layer.name,
            "index": layer.index,
            "part": layer.part,
            "stride": math.nan if layer.stride is None else layer.stride,
            "transform": g.name,
            "element": g.element,
            "similarity": self.sums.similarity,
            "over": over,
            "activation": self._activation(whole, layer.name),
            "images": self.reached[layer.name],
            "channels": layer.channels,
            "dead_channels": int(whole.dead().sum()),
            "live": whole.live_share(),
        }
        if layer.name == "final":
            common |= self.predictions.shares(g)
        parts = self.blocks.sums(key_of(layer, g, over))
        sizes = [part.images for part in parts]
        control = self._control(layer, g, over)
        for name, score in self._scores(layer, g, over, whole, parts).items():
            found = {"value": score.value, "cross_fitted": score.cross_fitted, "chance": score.chance}
            ends = self._bracket(score, sizes)
            yield common | {"score": name, "control": control.get(name, math.nan)} | found | ends

    def of_part(self, layers: Sequence[Layer], transforms: Sequence[Transformation], over: str) -> Iterator[Row]:
        """For each score its mean over layers and elements, with the interval of that mean.

        Left out of the mean is what has no score; a layer that none of a block's images has reached loses nothing
        without that block.
        """
        blocks = self.blocks.in_order()
        sizes = [max(sums.images for sums in block.values()) for block in blocks]
        found: dict[str, list[list[float]]] = {name: [] for name in self.scores}
        for layer, g in product(layers, transforms):
            key = key_of(layer, g, over)
            parts = self.blocks.sums(key)
            for name, score in self._scores(layer, g, over, self.whole(layer, g, over), parts).items():
                if math.isfinite(score.value) and len(score.without) > 1:
                    left = iter(score.without)
                    without = [next(left) if key in block else score.value for block in blocks]
                    found[name].append([score.value, score.cross_fitted, *without])
        for name, each in found.items():
            if each:
                value, fitted, *without = (fmean(column) for column in zip(*each, strict=True))
                mean = Score(value, math.nan, fitted, without)
                yield {"score": name, "value": value, "cross_fitted": fitted} | self._bracket(mean, sizes)

    def predicted(self, index: int, classes: int, transforms: Sequence[Transformation]) -> Iterator[Row]:
        """Rows of a `final` that is not measured: how often the predicted class stays, and stays right."""
        images = {"images": self.predictions.counts["images", "", ""], "channels": classes}
        place = {"layer": "final", "index": index, "part": "final", "similarity": self.sums.similarity}
        for over, g, score in product(self.sums.readings, transforms, self.scores):
            what = {"transform": g.name, "element": g.element, "over": over, "score": score}
            yield place | images | what | self.predictions.shares(g)

    def _bracket(self, score: Score, sizes: Sequence[int]) -> dict[str, float]:
        """The ends of an interval, from the lower of both values to the plug-in one."""
        half = half_width(score.value, score.without, sizes, self.level) if len(score.without) > 1 else math.nan
        lower_end = min(score.value, score.cross_fitted)
        return {"low": max(lower_end - half, 0.0), "high": min(score.value + half, 1.0)}  # NaN stays NaN

    def _activation(self, whole: Moments, layer: str) -> float:
        """Mean of f(x) over images, positions and channels."""
        if not whole.images:
            return math.nan
        mean = whole.sides(whole.total)[1] / whole.images
        return (mean / self.sums.scales[layer] if layer in self.sums.scales else mean).mean().item()

    def _scores(
        self, layer: Layer, g: Transformation, over: str, whole: Moments, parts: list[Moments]
    ) -> dict[str, Score]:
        """Those that are asked for, by name."""
        without: list[dict[str, float]] = []
        held_out: list[tuple[Tensor, Tensor]] = []
        for part in parts if len(parts) > 1 else ():
            others = whole.without(part)
            r = others.similarities()
            without.append(others.values(r))
            equal = r.round(decimals=10)  # of channels that differ by rounding errors, the first one
            held_out.append(part.held_out(equal.nan_to_num(-2).argmax(1), whole))
        fitted, chance = cross_fitted(whole, held_out), self.whole(layer, g, over, CHANCE).values()
        found = {
            name: Score(value, chance[name], fitted[name], [each[name] for each in without])
            for name, value in whole.values().items()
        }
        if "linear" in self.scores:
            found["linear"] = self._fitted(layer, g, over, whole)
        return {name: found[name] for name in self.scores}

    def _control(self, layer: Layer, g: Transformation, over: str) -> dict[str, float]:
        """The scores of the control of a transformation; empty where it has none."""
        if g not in self.controls:
            return {}
        whole = self.whole(layer, self.controls[g], over)
        fitted = self._fitted(layer, self.controls[g], over, whole).value if "linear" in self.scores else math.nan
        return whole.values() | {"linear": fitted}

    def _fitted(self, layer: Layer, g: Transformation, over: str, whole: Moments) -> Score:
        """The third score; NaN where it is not there."""
        if not self.sums.fits(layer, over):
            return linear.UNKNOWN
        live, constant = ~whole.dead(), whole.sides(whole.constant())[1]  # that are judged, that predict nothing
        return linear.linear(self._products(layer, g, over, whole), live, constant)

    def _products(self, layer: Layer, g: Transformation, over: str, whole: Moments) -> list[linear.Products]:
        """For each block, the sums of products that linear predictions need."""
        true, chance, own = (key_of(layer, g, over, pairs) for pairs in (TRUE, CHANCE, OWN))
        shared, centre = key_of(layer, None, over, OWN), whole.centre()  # by exact transformations
        return [
            linear.Products.of(block[true], block.get(chance), block[own if own in block else shared], centre)
            for block in self.blocks.in_order()
            if true in block
        ]
