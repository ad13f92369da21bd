"""The similarity of channels within each image, averaged over images: `measure.similarity=per_image`."""

from typing import Self

import torch
from torch import Tensor

from equivariance.scores.statistics import DEAD, MEASURES, Centred, PairStatistics, Products


class PerImageProducts(Products):
    """As `Products`, and sums of the scores of each image."""

    def __init__(self, channels: int, device: torch.device | str, dtype: torch.dtype):
        super().__init__(channels, device, dtype)
        self.sums, self.counts = torch.zeros(2, 2, 2, dtype=torch.float64, device=device)

    def add(self, a: Tensor, b: Tensor | Centred, weight: float = 1.0) -> None:
        if a[0, 0].numel() > 1:
            self._add_each(a, b.maps if isinstance(b, Centred) else b, weight)
        super().add(a, b, weight)

    def _add_each(self, a: Tensor, b: Tensor, weight: float) -> None:
        halves = [maps.unflatten(0, (2, -1)) / 2 for maps in (a, b)]
        sides = [(sums + differences, sums - differences) for sums, differences in halves]
        for x, y, other_x, other_y in zip(*sides[0], *sides[1], strict=True):  # one at a time: (c, c) per image
            for kind, pairs in enumerate((((x, other_x), (y, other_y)), ((x, other_y), (y, other_x)))):
                for pair in pairs:
                    r = _correlation(*pair)
                    own, best = r.diagonal().relu(), r.relu().nan_to_num(-torch.inf).amax(1)
                    for measure, values in enumerate((own[~own.isnan()], best[best >= 0])):
                        self.sums[kind, measure] += weight * values.sum()
                        self.counts[kind, measure] += weight * len(values)

    def statistics(self) -> "PerImageStatistics":
        found = PerImageStatistics(0, self.products.device)
        vars(found).update(vars(super().statistics()), sums=self.sums, counts=self.counts)
        return found


class PerImageStatistics(PairStatistics):
    """As `PairStatistics`, with one correlation per image over its positions, averaged over images.

    The maximum over c' is taken image by image. On small maps that is mostly chance (64 channels of 8x8 positions),
    which is why it is not the default; offered to compare. Maps of one position have no correlation of their own:
    for them the pooled one is taken. Images in which a channel is constant do not count for it.

    Attributes:
        sums, counts: over images and channels of (invariance, equivariance), for true pairs and for chance: (2, 2).
    """

    batch = PerImageProducts

    def __init__(self, channels: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64):
        super().__init__(channels, device, dtype)
        self.sums, self.counts = torch.zeros(2, 2, 2, dtype=torch.float64, device=device)

    def merge(self, other: Self) -> None:
        super().merge(other)
        self.sums += other.sums
        self.counts += other.counts

    def scores(self, similarity: str) -> dict[str, tuple[float, float]]:
        if not self.counts.any():
            return super().scores(similarity)
        mean = (self.sums / self.counts).tolist()
        return {name: (mean[0][index], mean[1][index]) for index, name in enumerate(MEASURES)}


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's r (c, c) of the channels of two maps (c, h, w) over positions; NaN where a channel is constant."""
    flat = [x.to(torch.promote_types(x.dtype, torch.float32)).flatten(1) for x in (a, b)]
    centred = [x - x.mean(1, keepdim=True) for x in flat]
    spread = [x.square().mean(1).sqrt() for x in centred]
    dead = [s <= DEAD * x.abs().amax(1) for s, x in zip(spread, flat, strict=True)]
    r = (centred[0] @ centred[1].T) / (flat[0].shape[1] * torch.outer(*spread))
    return r.clamp(-1, 1).masked_fill(dead[0][:, None] | dead[1], torch.nan)
