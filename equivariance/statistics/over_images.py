"""Similarity over the positions of each image: its mean over images, and two variants that are kept to compare."""

from typing import Any, Self

import torch
from torch import Tensor

from equivariance.statistics.formulas import FORMULAS
from equivariance.statistics.pairs import (
    DEAD,
    PairStatistics,
    Side,
    chosen_columns,
    positions_by_channels,
    subtracted,
)


class ImageStatistics(PairStatistics):
    """Similarity over the positions of each image, averaged over the images.

    The maps of each image are standardised, so that one matrix product over all positions is the sum of all images'
    correlations. A channel that is constant within an image has none there: its pairs leave that image out.

    Attributes:
        missing, chance_missing: (c, c) and (k, c), how many images each pair has left out; None: no pair any.
        live_images: (c,), images within which f(T_g x)_c has variance.
    """

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.missing: Tensor | None = None
        self.chance_missing: Tensor | None = None
        self.live_images = torch.zeros_like(self.total[0])

    def side(self, maps: Tensor, original: bool, owned: bool = False) -> Side:
        x = positions_by_channels(maps)
        positions, mean = x.shape[1], x.mean(1)
        values = subtracted(x, mean[:, None] if self.similarity == "pearson" else None, maps, owned)
        norm = (values * values).sum(1).sqrt_()  # vector_norm is ten times slower along this axis
        smallest = mean.abs().mul_(DEAD * positions**0.5) if self.similarity == "pearson" else 0.0
        live = norm > smallest
        total = mean.sum(0) + 0 * norm.sum(0)  # NaN where squares are too large for float32
        # asking a GPU whether all are live would wait for it
        all_live = live.device.type == "cpu" and bool(live.all())
        scale = norm.reciprocal_() if all_live else norm.reciprocal_().mul_(live).nan_to_num_(0.0, 0.0)
        return Side(values.mul_(scale[:, None]), total, live=None if all_live else live.to(torch.float32))

    def add(self, a: Side, b: Side) -> None:
        super().add(a, b)
        n = len(a.values)
        self.live_images += n if a.live is None else a.live.sum(0)
        if a.live is None and b.live is None:
            return
        ones = torch.ones(n, a.values.shape[2], device=a.values.device)
        live_a, live_b = (ones if side.live is None else side.live for side in (a, b))
        self.missing = _plus(self.missing, n - live_a.mT @ live_b)
        rows = self._chance_rows(live_a)
        for _, live, weight in b.mismatched:
            both = rows.mT @ (ones if live is None else live)
            self.chance_missing = _plus(self.chance_missing, weight * (n - both))

    def merge(self, other: Self, sign: int = 1) -> None:
        self.similarity = other.similarity
        self.images += sign * other.images
        for name in ("cross", "chance", "total", "live_images"):
            getattr(self, name).add_(getattr(other, name), alpha=sign)
        for name in ("missing", "chance_missing"):
            if getattr(other, name) is not None:
                setattr(self, name, _plus(getattr(self, name), sign * getattr(other, name)))

    def similarities(self, chance: bool = False) -> Tensor:
        counts = self._counts(chance)
        r = ((self.chance if chance else self.cross) / counts).clamp_(-1, 1)
        return r if isinstance(counts, float) else r.masked_fill_(counts == 0, torch.nan)

    def held_out(self, partners: Tensor, whole: Self) -> tuple[Tensor, Tensor]:
        counts = torch.as_tensor(self._counts(), device=partners.device).to(self.cross)
        return chosen_columns(self.cross, partners), chosen_columns(counts.expand_as(self.cross), partners)

    def centred(self, whole: Self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        return self.cross, self.chance, self.live_images, None

    def dead(self) -> Tensor:
        return self.similarities().diagonal().isnan()

    def live_share(self) -> float:
        if self.missing is None:
            return 1.0 if self.images else 0.0
        return 1 - (self.missing.diagonal() / self.images).mean().item()

    def _counts(self, chance: bool = False) -> Tensor | float:
        """Images of each pair of channels."""
        missing = self.chance_missing if chance else self.missing
        if missing is None:
            return float(self.images) if self.images else torch.nan
        return (self.images - missing).to(self.cross)


class ReluImageStatistics(ImageStatistics):
    """As `ImageStatistics`, with relu of every image's correlation before the average, not after it."""

    def _add_products(self, sums: Tensor, a: Tensor, b: Tensor, weight: float = 1.0) -> None:
        images = max(1, 2**24 // a.shape[2] ** 2)  # of which (c, c) matrices stay within some 64 MiB
        for x, y in zip(a.split(images), b.split(images), strict=True):
            sums.add_((x.mT @ y).relu_().sum(0), alpha=weight)


class MaximumImageStatistics(ImageStatistics):
    """As `ImageStatistics`, with the maximum over c' taken within each image, before the average.

    There is no partner to choose on other images: cross-fitted, its value is the plug-in one. On small maps the
    maximum is mostly chance (64 channels of 8x8 positions). Offered to compare.

    Attributes:
        sums, counts: (2, 2), over images and live channels of relu(r_i[c, c]) and of max over c' of
            relu(r_i[c, c']); rows: true pairs, pairs of different images.
    """

    cross_fits = False

    def __init__(self, channels: int, device: torch.device | str = "cpu", *arguments: Any, **named: Any):
        super().__init__(channels, device, *arguments, **named)
        self.sums, self.counts = torch.zeros(2, 2, 2, dtype=torch.float64, device=device)

    def add(self, a: Side, b: Side) -> None:
        super().add(a, b)
        self._add_each(0, a.values, a.live, b.values, b.live, 1.0)
        for values, live, weight in b.mismatched:
            self._add_each(1, a.values, a.live, values, live, weight)

    def _add_each(
        self, kind: int, a: Tensor, live_a: Tensor | None, b: Tensor, live_b: Tensor | None, weight: float
    ) -> None:
        for i in range(len(a)):  # one at a time: (c, c) an image
            r = (a[i].mT @ b[i]).clamp_(-1, 1)
            for live, axis in ((live_a, 1), (live_b, 0)):
                if live is not None:
                    r.masked_fill_(live[i].unsqueeze(axis) == 0, torch.nan)
            own, best = r.diagonal().relu(), r.relu().nan_to_num(-torch.inf).amax(1)
            for place, values in enumerate((own[~own.isnan()], best[best >= 0])):
                self.sums[kind, place] += weight * values.sum()
                self.counts[kind, place] += weight * len(values)

    def merge(self, other: Self, sign: int = 1) -> None:
        super().merge(other, sign)
        self.sums += sign * other.sums
        self.counts += sign * other.counts

    def scores(self) -> dict[str, tuple[float, float]]:
        mean = (self.sums / self.counts).tolist()
        return {name: (mean[0][place], mean[1][place]) for place, name in enumerate(FORMULAS)}

    def values(self, r: Tensor) -> dict[str, float]:
        return {name: value for name, (value, _) in self.scores().items()}


def _plus(sums: Tensor | None, more: Tensor) -> Tensor:
    return more.to(torch.float32) if sums is None else sums.add_(more)
