"""Similarity over the data set: one correlation over all images and positions."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from equivariance.statistics.pairs import (
    DEAD,
    PairStatistics,
    Side,
    chance_channels,
    chosen_columns,
    positions_by_channels,
    subtracted,
)


@dataclass(kw_only=True)
class DatasetSide(Side):
    """A side over the data set.

    Attributes:
        origin: (c,), what was subtracted from the values.
        sums, squares: (c,), of the values.
    """

    origin: Tensor
    sums: Tensor
    squares: Tensor


class DatasetStatistics(PairStatistics):
    """One similarity over all images and positions.

    All sums are of differences from an origin, the mean of the first maps: maps with mean 1000 and deviation 1 keep
    their digits in float32.

    Attributes:
        count: positions of all images.
        origin: (2, c), what was subtracted from f(T_g x) and from T_g f(x).
        sums, squares: (2, c), of the differences.
        rounding: (2, c), variances below which are rounding errors, where sums were taken away again.
    """

    def __init__(self, channels: int, device: torch.device | str = "cpu", *arguments: Any, **named: Any):
        super().__init__(channels, device, *arguments, **named)
        self.count = 0
        self.origin, self.sums, self.squares, self.rounding = (torch.zeros_like(self.total) for _ in range(4))

    def side(self, maps: Tensor, original: bool, owned: bool = False) -> Side:
        x = positions_by_channels(maps)
        origin = self.origin[int(original)] if self.count else x.flatten(0, 1).mean(0)
        values = subtracted(x, origin, maps, owned)
        flat = values.flatten(0, 1)
        sums, squares = flat.sum(0), (flat * flat).sum(0)
        total = sums / x.shape[1] + len(x) * origin + 0 * squares  # NaN where squares are too large for float32
        return DatasetSide(values, total, origin=origin, sums=sums, squares=squares)

    def add(self, a: Side, b: Side) -> None:
        assert isinstance(a, DatasetSide) and isinstance(b, DatasetSide)
        super().add(a, b)
        if not self.count:
            self.origin = torch.stack([a.origin, b.origin])
        self.count += a.values.shape[0] * a.values.shape[1]
        self.sums += torch.stack([a.sums, b.sums])
        self.squares += torch.stack([a.squares, b.squares])

    def merge(self, other: Self, sign: int = 1) -> None:
        if other.count == 0:
            return
        self.similarity = other.similarity
        if self.count == 0:
            self.origin = other.origin.to(self.sums.dtype)
        if sign < 0:
            self.rounding = self.squares * (1e-12 / self.count)
        gap, sums, n = other.origin - self.origin, other.sums.to(self.sums.dtype), other.count
        self.squares += sign * (other.squares + 2 * gap * sums + n * gap.square())
        left, right = torch.stack([gap[0], sums[0] + n * gap[0]], 1), torch.stack([sums[1], gap[1]])
        for mine, theirs in ((self.cross, other.cross), (self.chance, other.chance)):
            mine.add_(theirs, alpha=sign).addmm_(self._rows(mine, left), right, alpha=sign)
        self.sums += sign * (sums + n * gap)
        self.total.add_(other.total, alpha=sign)
        self.count += sign * n
        self.images += sign * other.images

    def similarities(self, chance: bool = False) -> Tensor:
        products, mean = self._covariances(chance), self._means()
        if self.similarity == "pearson":
            return self._divided(products, self._variances(), self.dead())
        products.addr_(self._rows(products, mean[0]), mean[1])
        norms = self._variances() + mean.square()
        return self._divided(products, norms, self.dead())

    def held_out(self, partners: Tensor, whole: Self) -> tuple[Tensor, Tensor]:
        """About the means of the whole, and divided by its deviations."""
        mean = whole._means()
        squares = whole._variances()
        if whole.similarity == "cosine":
            squares, mean = squares + mean.square(), torch.zeros_like(mean)
        gap = self._means() - mean
        sums = self.count * (chosen_columns(self._covariances(), partners) + gap[0] * gap[1][partners])
        dead = whole.dead()
        left_out = dead | dead[partners]
        deviations = (squares[0] * squares[1][partners]).sqrt()
        return (sums / deviations).masked_fill(left_out, 0), (~left_out) * self.count

    def centred(self, whole: Self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        mean = whole._means() if self.similarity == "pearson" else torch.zeros_like(self.sums)
        gap = self._means() - mean
        cross, chance = (
            self._covariances(kind).addr_(self._rows(sums, gap[0]), gap[1]).mul_(self.count)
            for kind, sums in ((False, self.cross), (True, self.chance))
        )
        return cross, chance, self.count * (self._variances()[0] + gap[0].square()), mean[1]

    def dead(self) -> Tensor:
        if self.similarity == "pearson":
            return (self._variances() <= (DEAD * self._means()).square() + self.rounding).any(0)
        return ((self._variances() + self._means().square()) <= self.rounding).any(0)

    def live_share(self) -> float:
        return 1 - self.dead().double().mean().item()

    def _means(self) -> Tensor:
        """(2, c), of f(T_g x) and T_g f(x)."""
        return self.origin + self.sums / max(self.count, 1)

    def _variances(self) -> Tensor:
        """(2, c), of f(T_g x) and T_g f(x)."""
        count = max(self.count, 1)
        return (self.squares / count - (self.sums / count).square()).clamp_(min=0)

    def _covariances(self, chance: bool = False) -> Tensor:
        cross, count = self.chance if chance else self.cross, max(self.count, 1)
        mean = self.sums / count
        return (cross / count).addr_(self._rows(cross, mean[0]), mean[1], alpha=-1)

    def _divided(self, products: Tensor, squares: Tensor, dead: Tensor) -> Tensor:
        r = products / torch.outer(self._rows(products, squares[0]), squares[1]).sqrt()
        return r.clamp_(-1, 1).masked_fill_(self._rows(r, dead)[:, None] | dead, torch.nan)

    @staticmethod
    def _rows(matrix: Tensor, values: Tensor) -> Tensor:
        """Of values by channel those of the rows of a matrix (c, c) or (k, c)."""
        square = len(matrix) == len(values)
        return values if square else values[chance_channels(len(values), values.device)]
