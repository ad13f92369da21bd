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

from equivariance.statistics.intervals import Score
from equivariance.statistics.moments import Moments, chance_channels

OVER = ("image", "dataset")  # the readings that are products of sums
MOST_CHANNELS = 512  # of a layer that is fitted: solving for the maps takes the third power
RIDGES = (1e-6, 1e-3, 1e-2, 1e-1, 1.0)  # added to the diagonal, times its mean; chosen on the blocks left out


@dataclass(frozen=True)
class Products:
    """Sums of products of a part of the stream, all less the same means.

    Attributes:
        targets: (c', c + k), of T_g f(x) with f(T_g x), and of pairs of different images, `chance_channels` alone.
        squares: (c + k,), of these.
        own: (c', c'), of T_g f(x) with itself.
    """

    targets: Tensor
    squares: Tensor
    own: Tensor

    @classmethod
    def of(cls, true: Moments, chance: Moments | None, own: Moments, centre: Tensor | None) -> Self:
        """Those of sums of true pairs, of pairs of different images (None: there are none), and of T_g f(x).

        Args:
            centre: means of both sides, None where the values are as they are.
        """
        channels = true.left
        rows = chance_channels(channels, true.products.device)
        cross, squares = true.about(centre), true.squares_about(centre)[:channels]
        if chance is None:
            level, level_squares = torch.zeros_like(cross[rows]), torch.zeros_like(squares[rows])
        else:
            level, level_squares = chance.about(centre), chance.squares_about(centre)[:channels][rows]
            level = level if len(level) == len(rows) else level[rows]
        of_own = None if centre is None else centre[channels:].repeat(2)
        return cls(torch.cat([cross, level]).mT, torch.cat([squares, level_squares]), own.about(of_own))

    def plus(self, other: Self, sign: int = 1) -> Self:
        """Of both parts together; with sign -1, of this one without the other."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return type(self)(*(x.add(y, alpha=sign) for x, y in pairs))


def standardised(parts: Sequence[Products], constant: Tensor) -> tuple[list[Products], Products]:
    """The parts and their sum, T_g f(x) divided by its deviations, on which no score depends, or by infinity."""
    variances = reduce(Products.plus, parts).own.diagonal()
    deviations = variances.sqrt().masked_fill(constant | (variances <= 0), torch.inf)
    rows = deviations[:, None]
    found = [Products(part.targets / rows, part.squares, part.own / rows / deviations) for part in parts]
    return found, reduce(Products.plus, found)


UNKNOWN = Score(torch.nan, torch.nan, torch.nan, [])


def linear(parts: Sequence[Products], live: Tensor, constant: Tensor) -> Score:
    """The score of predictions that are fitted on all parts of the stream but one and judged on that one.

    Without the judgement of a block, the fits stay.

    The ridge is that of `RIDGES` with the largest mean of R^2 on the parts left out; the chance level has its own.

    Args:
        parts: of the stream, about the means of the whole.
        live: bool (c,), the channels that enter the mean.
        constant: bool (c',), the channels of T_g f(x) that predict nothing.

    Returns:
        NaN with fewer than two parts, or where no channel is alive.
    """
    if len(parts) < 2 or not live.any():
        return UNKNOWN
    parts, whole = standardised(parts, constant)
    errors = torch.stack([_errors(whole.plus(part, -1), part) for part in parts], 1)  # (ridges, parts, c + k)
    squares = torch.stack([part.squares for part in parts])
    channels, rows = len(live), chance_channels(len(live), live.device)
    true = _chosen(errors[..., :channels][..., live], squares[:, :channels][:, live])
    level = _chosen(errors[..., channels:][..., live[rows]], squares[:, channels:][:, live[rows]])
    return Score(true[0], level[0], true[0], true[1])


def _errors(fitted: Products, judged: Products) -> Tensor:
    """For each ridge the sums of squared errors (ridges, c + k) on one part of maps that are fitted on another."""
    diagonal = fitted.own.diagonal()
    errors = []
    for ridge in RIDGES:
        regular = fitted.own + torch.diag((ridge * diagonal.mean()).expand_as(diagonal))
        factor, failed = torch.linalg.cholesky_ex(regular)
        if failed:  # rounding errors of channels that depend on each other, or nothing to predict from
            errors.append(judged.squares)
            continue
        maps = torch.cholesky_solve(fitted.targets, factor)
        errors.append(judged.squares + (maps * (judged.own @ maps - 2 * judged.targets)).sum(0))
    return torch.stack(errors)


def _chosen(errors: Tensor, squares: Tensor) -> tuple[float, list[float]]:
    """The score with the best ridge, and without each part: errors (ridges, parts, c), squares (parts, c)."""
    errors = errors[(1 - errors.sum(1) / squares.sum(0)).mean(1).nan_to_num(-torch.inf).argmax()]

    def score(errors: Tensor, squares: Tensor) -> Tensor:
        return (1 - errors / squares).clamp(0, 1).sqrt().nanmean(-1)

    without = score(errors.sum(0) - errors, squares.sum(0) - squares)
    return score(errors.sum(0), squares.sum(0)).item(), without.tolist()
