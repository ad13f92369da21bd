"""As many images as the answer needs: a measurement ends when the parts of the network are known well enough."""

from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from typing import Any

import pandas as pd
from torch import Tensor

from equivariance.errors import UserError
from equivariance.metric.equivariance import Equivariance
from equivariance.names import BEFORE_POOLING, PARTS

Batch = tuple[Tensor, Tensor | None]  # images and labels
FIRST = 64  # images before the first look, which each further look doubles
ENOUGH = 8  # blocks for an interval whose width is well known


class Precision:
    """When a measurement ends: where all brackets of some parts of the network are narrow.

    After 64, 128, 256, ... images the brackets `low` to `high` of these parts are computed, see
    `Equivariance.brackets`. Once the widest one, over scores, readings and transformations, is at most `until`, no
    more images are measured.

    Looking several times is paid for with a higher `level`. Normal means are independent of the deviations that
    decide when to stop, so all that is lost comes of stopping where a deviation is estimated too small. Simulated
    with six looks and the deviation that is worst for them, half widths of level 0.95 cover in 92 % of the
    measurements with 8 blocks, those of 0.975 in 95 %; with 4 and with 2 blocks those of 0.99 in 96 %.
    `python scripts/few_images.py WEIGHTS DATA_DIR looks` counts it for the measure itself.

    Args:
        until: width of the brackets, above 0 and below 1; None: all images are measured.
        parts: those that are waited for, of `names.PARTS`; None: the parts before pooling.

    Raises:
        UserError: an argument is not as said.
    """

    def __init__(self, until: float | None = None, parts: str | Sequence[str] | None = None):
        self.until = until
        self.parts = (parts,) if isinstance(parts, str) else tuple(BEFORE_POOLING if parts is None else parts)
        if until is not None and not (isinstance(until, Real) and 0 < until < 1):
            raise UserError(f"until={until}: needs the width of a bracket, a number above 0 and below 1, or None")
        if not self.parts or {*self.parts} - {*PARTS}:
            raise UserError(f"until_parts={parts}: choose {', '.join(PARTS)}")
        if until is None and parts is not None:
            raise UserError(f"until_parts={parts}: needs until, the width of their brackets")

    def level(self, metric: Equivariance) -> float:
        """Of the jackknife's half widths, for intervals that cover in 95 % of the measurements."""
        if self.until is None:
            return 0.95
        return 0.975 if metric.blocks_at_most >= ENOUGH else 0.99

    def enough(self, batches: Iterable[Batch], metric: Equivariance) -> Iterator[Batch]:
        """The batches of images and labels, cut where the brackets are looked at, up to the last that is needed.

        Whoever takes them gives each to the metric, which may have measured some images before, at once.
        """
        if self.until is None:
            yield from batches
            return
        if self._is_met(metric):
            return
        for images, labels in batches:
            start = 0
            while start < len(images):
                part = slice(start, start + _next_look(metric.images) - metric.images)
                yield images[part], None if labels is None else labels[part]
                if self._is_met(metric):
                    return
                start = part.stop

    def ended(self, metric: Equivariance) -> str | None:
        """Why there are no more images, and the widest bracket of each part; None without `until`."""
        if self.until is None:
            return None
        widths = self._widths(metric, PARTS)
        met = widths[widths.index.isin(self.parts)].max() <= self.until
        narrow, wide = (
            ", ".join(f"{part} {width:.3f}" for part, width in found.items())
            for found in (widths[widths <= self.until], widths[widths > self.until])
        )
        why = "narrow enough" if met else "no more images"
        asked = f"until {self.until:g} of {', '.join(self.parts)}"
        return f"{asked}: {why}; brackets {narrow or '-'}; wider: {wide or '-'}"

    def _is_met(self, metric: Equivariance) -> bool:
        """Whether this is a look, at which the brackets are narrow."""
        if metric.images < FIRST or metric.images != _next_look(metric.images - 1):
            return False
        return bool(self._widths(metric, self.parts).max() <= self.until)

    def _widths(self, metric: Equivariance, parts: Sequence[str]) -> "pd.Series[Any]":
        """The width of the widest bracket of each part that has layers."""
        if metric.blocks_at_most < 2:
            raise UserError(
                f"until={self.until}: a bracket needs at least two blocks of images; measure fewer layers or "
                "transformations at a time where the memory allows no more"
            )
        found = metric.brackets(parts, self.level(metric))
        widths = (found.high - found.low).groupby(found.part, sort=False).max()
        if not widths.index.isin(self.parts).any():
            there = ", ".join(dict.fromkeys(layer.part for layer in metric.layers.values()))
            raise UserError(f"until_parts={list(self.parts)}: no layer with a score is of these, but of {there}")
        return widths


def _next_look(images: int) -> int:
    """The number of images of the first look after so many."""
    return max(FIRST, 1 << max(images, 0).bit_length())
