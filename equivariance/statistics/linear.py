"""How well all channels of T_g f(x) together predict each channel of f(T_g x): the third score.

With a_c = f(T_g x)_c and b = T_g f(x), a linear prediction of a_c from all channels of b is fitted on all blocks of
images but one and judged on the one left out:

    linear = mean over c of sqrt(max(0, R_c^2)),    R_c^2 = 1 - sum (a_c - w_c b)^2 / sum a_c^2

(the multiple correlation; Lenc & Vedaldi 2015 fit such maps by descent). Everything follows from the sums of
products of a and b, and of b with itself. The values are those of the reading of the measure: standardised image by
image, or less their mean over the data set. So the mean over images of a correlation is a product of sums like any
other, and a single partner channel is one linear map among many: fitted and judged on the same images,

    invariance <= equivariance <= linear,

exactly, where every channel has variance in every image. Judged on other images, R^2 is lower by about
2 c (1 - R^2) / n with n independent positions, since c coefficients are fitted for each channel: it needs many more
positions than channels. Behind the global pooling of a ResNet-44 (64 channels), where each image is one position,
100 images give 0.48 and 4000 give 0.62.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Self

import torch
from torch import Tensor

from equivariance.statistics.over_dataset import DatasetSide
from equivariance.statistics.pairs import Score, Side, StreamSums, chance_channels

OVER = ("image", "dataset")  # the readings that are products of sums
MOST_CHANNELS = 512  # of a layer that is fitted: solving for the maps takes the third power
RIDGES = (1e-6, 1e-3, 1e-2, 1e-1, 1.0)  # added to the diagonal, times its mean; chosen on the blocks left out


class Gram(StreamSums):
    """Sums of products of the channels of T_g f(x) with each other, less an origin.

    Exact transformations share those of f(x), as a joint reordering of positions does not matter.

    Attributes:
        count: positions of all images.
        origin, sums: (c,), what was subtracted, and the sums of what is left.
        products: (c, c); None before anything is added.
    """

    def __init__(self) -> None:
        self.count = 0
        self.origin: Tensor | None = None
        self.sums: Tensor | None = None
        self.products: Tensor | None = None

    def add(self, b: Side) -> None:
        """Add the maps of n images, as `PairStatistics.side` has made them ready."""
        values = b.values.flatten(0, 1)
        found = Gram()
        found.count = len(values)
        zeros = torch.zeros_like(values[0])
        found.origin, found.sums = (b.origin, b.sums) if isinstance(b, DatasetSide) else (zeros, zeros)
        found.products = values.mT @ values
        self.merge(found, dtype=values.dtype)

    def merge(self, other: Self, sign: int = 1, dtype: torch.dtype = torch.float64) -> None:
        """Add the sums of another part of the stream; with sign -1, take them away."""
        if other.products is None:
            return
        assert other.origin is not None and other.sums is not None
        if self.products is None:
            self.origin = other.origin.to(dtype)
            self.sums, self.products = (torch.zeros_like(x, dtype=dtype) for x in (other.sums, other.products))
        assert self.origin is not None and self.sums is not None
        gap, sums, n = other.origin - self.origin, other.sums.to(dtype), other.count
        mixed = torch.outer(gap, sums + n / 2 * gap)
        self.products.add_(other.products.to(dtype) + mixed + mixed.mT, alpha=sign)
        self.sums.add_(sums + n * gap, alpha=sign)
        self.count += sign * n

    def about(self, mean: Tensor | None) -> Tensor:
        """The sums of products (c, c) of the differences from `mean` (c,); None: as the values are."""
        assert self.products is not None and self.origin is not None and self.sums is not None
        if mean is None:
            return self.products
        gap = mean - self.origin
        mixed = torch.outer(gap, self.sums - self.count / 2 * gap)
        return self.products - mixed - mixed.mT


@dataclass(frozen=True)
class Products:
    """Sums of products of a part of the stream, all less the same means.

    Attributes:
        cross: (c, c'), of f(T_g x), rows, and T_g f(x), columns.
        chance: (k, c'), the same for pairs of different images, rows `chance_channels`; or no rows.
        own: (c', c'), of T_g f(x) with itself.
        squares: (c,), of f(T_g x).
    """

    cross: Tensor
    chance: Tensor
    own: Tensor
    squares: Tensor

    def plus(self, other: Self, sign: int = 1) -> Self:
        """Of both parts together; with sign -1, of this one without the other."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return type(self)(*(x.add(y, alpha=sign) for x, y in pairs))

    @property
    def targets(self) -> Tensor:
        """(c', c + k), what the maps are solved for."""
        return torch.cat([self.cross, self.chance]).mT

    @property
    def target_squares(self) -> Tensor:
        """(c + k,), their squares."""
        rows = chance_channels(len(self.squares), self.squares.device)[: len(self.chance)]
        return torch.cat([self.squares, self.squares[rows]])


UNKNOWN = Score(torch.nan, torch.nan, torch.nan, [])


def linear(parts: Sequence[Products], live: Tensor) -> Score:
    """The score of predictions that are fitted on all parts of the stream but one and judged on that one.

    Without the judgement of a block, the fits stay.

    The ridge is that of `RIDGES` with the largest mean of R^2 on the parts left out; the chance level has its own.

    Args:
        parts: of the stream, about the means of the whole.
        live: bool (c,), the channels that enter the mean.

    Returns:
        NaN with fewer than two parts, or where no channel is alive.
    """
    if len(parts) < 2 or not live.any():
        return UNKNOWN
    whole = reduce(Products.plus, parts)
    errors = torch.stack([_errors(whole.plus(part, -1), part) for part in parts], 1)  # (ridges, parts, c + k)
    squares = torch.stack([part.target_squares for part in parts])
    channels, chance = len(live), len(whole.chance)
    rows = chance_channels(channels, live.device)[:chance]
    true = _chosen(errors[..., :channels][..., live], squares[:, :channels][:, live])
    level = (
        _chosen(errors[..., channels:][..., live[rows]], squares[:, channels:][:, live[rows]]) if chance else None
    )
    return Score(true[0], level[0] if level else torch.nan, true[0], true[1])


def in_sample(products: Products, live: Tensor) -> float:
    """The score of predictions that are fitted and judged on the same images, without a ridge: never below
    equivariance, and too high with few images."""
    maps = torch.linalg.pinv(products.own, rtol=1e-10, hermitian=True) @ products.cross.mT
    explained = (maps * products.cross.mT).sum(0) / products.squares
    return explained[live].clamp(0, 1).sqrt().mean().item()


def _errors(fitted: Products, judged: Products) -> Tensor:
    """For each ridge the sums of squared errors (ridges, c + k) on one part of maps that are fitted on another."""
    targets, squares = fitted.targets, judged.target_squares
    diagonal = fitted.own.diagonal()
    errors = []
    for ridge in RIDGES:
        regular = fitted.own + torch.diag((ridge * diagonal.mean()).expand_as(diagonal))
        factor, failed = torch.linalg.cholesky_ex(regular)
        if failed:  # rounding errors of channels that depend on each other, or nothing to predict from
            errors.append(squares)
            continue
        maps = torch.cholesky_solve(targets, factor)
        errors.append(squares + (maps * (judged.own @ maps - 2 * judged.targets)).sum(0))
    return torch.stack(errors)


def _chosen(errors: Tensor, squares: Tensor) -> tuple[float, list[float]]:
    """The score with the best ridge, and without each part: errors (ridges, parts, c), squares (parts, c)."""
    errors = errors[(1 - errors.sum(1) / squares.sum(0)).mean(1).nan_to_num(-torch.inf).argmax()]

    def score(errors: Tensor, squares: Tensor) -> Tensor:
        return (1 - errors / squares).clamp(0, 1).sqrt().nanmean(-1)

    without = score(errors.sum(0) - errors, squares.sum(0) - squares)
    return score(errors.sum(0), squares.sum(0)).item(), without.tolist()
