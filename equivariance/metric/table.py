"""From the statistics of all blocks of images to the rows of a table: scores, chance levels, intervals."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from torch import Tensor

from equivariance.layers.find import Layer
from equivariance.metric.predictions import Predictions
from equivariance.metric.sums import Sums, key_of
from equivariance.statistics import linear
from equivariance.statistics.image_blocks import Blocks
from equivariance.statistics.intervals import half_width
from equivariance.statistics.pairs import PairStatistics, Score, cross_fitted
from equivariance.transforms.protocol import Transformation


@dataclass(frozen=True)
class ScoreTable:
    """What the statistics of a stream of images say; `controls` are those of the transformations that have one."""

    sums: Sums
    blocks: Blocks
    predictions: Predictions
    images: int
    scores: tuple[str, ...]
    controls: Mapping[Transformation, Transformation]

    def whole(self, layer: Layer, g: Transformation, reading: str) -> PairStatistics:
        """The statistics of all images."""
        whole = self.sums.empty(layer, reading)
        for part in self.blocks.parts(key_of(layer, g, reading)):
            whole.merge(part)
        return whole

    def rows(self, layer: Layer, g: Transformation, reading: str) -> Iterator[dict[str, Any]]:
        """One row per score, with the columns `names.SCORE_COLUMNS`."""
        whole = self.whole(layer, g, reading)
        parts = [part for part in self.blocks.parts(key_of(layer, g, reading)) if part.images]
        common = self._common(layer, g, reading) | {
            "activation": whole.activation() / self.sums.scales.get(layer.name, 1.0) if whole.images else math.nan,
            "dead_channels": int(whole.dead().sum()),
            "live": whole.live_share(),
        }
        sizes = [part.images for part in parts]
        control = self._control(layer, g, reading)
        for name, score in self._scores(layer, g, reading, whole, parts).items():
            half = half_width(score.value, score.without, sizes) if len(score.without) > 1 else math.nan
            lower_end = min(score.value, score.cross_fitted)
            ends = {"low": max(lower_end - half, 0.0), "high": min(score.value + half, 1.0)}  # NaN stays NaN
            found = {"value": score.value, "cross_fitted": score.cross_fitted, "chance": score.chance}
            yield common | {"score": name, "control": control.get(name, math.nan)} | found | ends

    def without_statistics(self, layer: Layer, g: Transformation, reading: str) -> Iterator[dict[str, Any]]:
        """The same rows of a layer that has too many channels for statistics: predictions, and no scores."""
        for name in self.scores:
            yield self._common(layer, g, reading) | {"score": name, "dead_channels": 0}

    def _common(self, layer: Layer, g: Transformation, reading: str) -> dict[str, Any]:
        """What the rows of all scores share, apart from statistics."""
        found = {
            "layer": layer.name,
            "index": layer.index,
            "part": layer.part,
            "stride": math.nan if layer.stride is None else layer.stride,
            "transform": g.name,
            "element": g.element,
            "similarity": self.sums.similarity,
            "over": reading,
            "images": self.images,
            "channels": layer.channels,
        }
        return found | (self.predictions.shares(g, self.images) if layer.name == "final" else {})

    def fitted(self, layer: Layer, g: Transformation, reading: str) -> Score:
        """The third score; NaN where it is not there."""
        if not self.sums.fits(layer, reading):
            return linear.UNKNOWN
        whole, parts = self._products(layer, g, reading)
        return linear.linear(parts, ~whole.dead())

    def in_sample(self, layer: Layer, g: Transformation, reading: str) -> dict[str, float]:
        """All three scores, `linear` fitted and judged on the same images."""
        whole, parts = self._products(layer, g, reading)
        together = reduce(linear.Products.plus, parts)
        return whole.values(whole.similarities()) | {"linear": linear.in_sample(together, ~whole.dead())}

    def _scores(
        self, layer: Layer, g: Transformation, reading: str, whole: PairStatistics, parts: list[PairStatistics]
    ) -> dict[str, Score]:
        """Those that are asked for, by name."""
        without: list[dict[str, float]] = []
        held_out: list[tuple[Tensor, Tensor]] = []
        for part in parts if len(parts) > 1 else ():
            others = whole.without(part)
            r = others.similarities()
            without.append(others.values(r))
            held_out.append(part.held_out(r.nan_to_num(-2).argmax(1), whole))
        fitted = cross_fitted(whole, held_out)
        found = {
            name: Score(value, chance, fitted[name], [each[name] for each in without])
            for name, (value, chance) in whole.scores().items()
        }
        if "linear" in self.scores:
            found["linear"] = self.fitted(layer, g, reading)
        return {name: found[name] for name in self.scores}

    def _control(self, layer: Layer, g: Transformation, reading: str) -> dict[str, float]:
        """The scores of the control of a transformation; empty where it has none."""
        if g not in self.controls:
            return {}
        control = self.controls[g]
        scores = self.whole(layer, control, reading).scores()
        fitted = {"linear": self.fitted(layer, control, reading).value} if "linear" in self.scores else {}
        return {name: value for name, (value, _) in scores.items()} | fitted

    def _products(
        self, layer: Layer, g: Transformation, reading: str
    ) -> tuple[PairStatistics, list[linear.Products]]:
        """The statistics of all images, and for each block the sums of products that linear predictions need."""
        whole, products = self.whole(layer, g, reading), []
        own = self.blocks.parts(key_of(layer, g, reading, own=True))
        shared = self.blocks.parts(key_of(layer, None, reading, own=True))
        for part, gram, common in zip(self.blocks.parts(key_of(layer, g, reading)), own, shared, strict=True):
            if part.images:
                cross, chance, squares, mean = part.centred(whole)
                gram = common if gram.products is None else gram
                products.append(linear.Products(cross, chance, gram.about(mean), squares))
        return whole, products
