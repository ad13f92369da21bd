"""Similarity over the positions of each image: its mean over images, and two variants that are kept to compare."""

from typing import Any, Self

import torch
from torch import Tensor

from equivariance.statistics.formulas import FORMULAS
from equivariance.statistics.moments import (
    DEAD,
    SMALL,
    Moments,
    Side,
    chance_channels,
    chosen_columns,
    positions_by_channels,
    subtracted,
)

FAR = 256  # deviations: a mean beyond them is rounded so much that maps are centred a second time


class ImageStatistics(Moments):
    """Similarity over the positions of each image, averaged over the images.

    The maps of each image are standardised, so that one matrix product over all positions is the sum of all images'
    correlations. A channel that is constant within an image has none there: its pairs leave that image out. The
    squares of a channel are so the number of images within which it has variance.

    Attributes:
        missing: (k, c), how many images each pair has left out; None: no pair any.
    """

    missing: Tensor | None = None

    def side(self, maps: Tensor, original: bool, owned: bool = False) -> Side:
        x = positions_by_channels(maps)
        positions, mean, centred = x.shape[1], x.mean(1), self.similarity == "pearson"
        values = subtracted(x, mean[:, None] if centred else None, maps, owned)
        norm = (values * values).sum(1).sqrt_()  # vector_norm is ten times slower along this axis
        size, on_cpu = mean.abs().mul_(positions**0.5), norm.device.type == "cpu"  # asking a GPU would wait for it
        if centred and not (on_cpu and bool((size <= FAR * norm).all())):
            rest = values.mean(1)
            values.sub_(rest[:, None])
            norm = (norm.square_() - positions * rest * rest).clamp_(min=0).sqrt_()
        total = mean.sum(0) + 0 * norm.sum(0)  # NaN where squares are too large for float32
        live = norm > (DEAD * size + SMALL if centred else SMALL)
        all_live = on_cpu and bool(live.all())
        scale = norm.reciprocal_() if all_live else norm.reciprocal_().mul_(live).nan_to_num_(0.0, 0.0)
        squares = live.sum(0, dtype=total.dtype)
        values.mul_(scale[:, None])
        return Side(values, total, 0 * squares, squares, live=None if all_live else live.to(torch.float32))

    def add(self, a: Side, b: Side) -> None:
        super().add(a, b)
        if a.live is None and b.live is None:
            return
        n = len(a.values)
        ones = torch.ones(a.values[:, 0].shape, dtype=torch.float32, device=a.values.device)
        live_a, live_b = (ones if side.live is None else side.live for side in (a, b))
        self._miss(n - self._rows(live_a).mT @ live_b)

    def merge(self, other: Self, sign: int = 1) -> None:
        super().merge(other, sign)
        if other.missing is not None:
            self._miss(sign * other.missing)

    def similarities(self) -> Tensor:
        counts = self._counts()
        r = (self.products / counts).clamp_(-1, 1)
        return r if isinstance(counts, float) else r.masked_fill_(counts == 0, torch.nan)

    def held_out(self, partners: Tensor, whole: Moments) -> tuple[Tensor, Tensor]:
        counts = torch.as_tensor(self._counts(), device=partners.device).to(self.products)
        return chosen_columns(self.products, partners), chosen_columns(counts.expand_as(self.products), partners)

    def dead(self) -> Tensor:
        return self.similarities().diagonal().isnan()

    def live_share(self) -> float:
        if self.missing is None:
            return 1.0 if self.images else 0.0
        return 1 - (self.missing.diagonal() / self.images).mean().item()

    def _counts(self) -> Tensor | float:
        """Images of each pair of channels."""
        if self.missing is None:
            return float(self.images) if self.images else torch.nan
        return (self.images - self.missing).to(self.products)

    def _miss(self, more: Tensor) -> None:
        self.missing = more.to(torch.float32) if self.missing is None else self.missing.add_(more)


class ReluImageStatistics(ImageStatistics):
    """As `ImageStatistics`, with relu of every image's correlation before the average, not after it."""

    def _add_products(self, a: Tensor, b: Tensor) -> None:
        images = max(1, 2**24 // b.shape[2] ** 2)  # of which (c, c) matrices stay within some 64 MiB
        for x, y in zip(a.split(images), b.split(images), strict=True):
            self.products += (x.mT @ y).relu_().sum(0)


class MaximumImageStatistics(ImageStatistics):
    """As `ImageStatistics`, with the maximum over c' taken within each image, before the average.

    There is no partner to choose on other images: cross-fitted, its value is the plug-in one. On small maps the
    maximum is mostly chance (64 channels of 8x8 positions). Offered to compare.

    Attributes:
        maxima: (2, 2), sums over images and live channels of relu(r_i[c, c]) and of max over c' of
            relu(r_i[c, c']), and how many there are.
    """

    cross_fits = False

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.maxima = torch.zeros(2, 2, dtype=torch.float64, device=self.sums.device)

    def add(self, a: Side, b: Side) -> None:
        super().add(a, b)
        is_chance = len(self.products) < self.products.shape[1]
        rows = chance_channels(b.values.shape[2], b.values.device) if is_chance else None
        for i in range(len(a.values)):  # one at a time: (c, c) an image
            r = (self._rows(a.values[i]).mT @ b.values[i]).clamp_(-1, 1)
            if a.live is not None:
                r.masked_fill_(self._rows(a.live[i])[:, None] == 0, torch.nan)
            if b.live is not None:
                r.masked_fill_(b.live[i] == 0, torch.nan)
            own = r.diagonal() if rows is None else r.gather(1, rows[:, None])[:, 0]
            best = r.relu().nan_to_num(-torch.inf).amax(1)
            kept = own[~own.isnan()].relu(), best[best >= 0]
            self.maxima += torch.stack([torch.stack([x.sum(), x.new_tensor(len(x))]) for x in kept]).mT

    def merge(self, other: Self, sign: int = 1) -> None:
        super().merge(other, sign)
        self.maxima += sign * other.maxima

    def values(self, r: Tensor | None = None) -> dict[str, float]:
        return dict(zip(FORMULAS, (self.maxima[0] / self.maxima[1]).tolist(), strict=True))
