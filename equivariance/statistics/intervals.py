"""What blocks of images say of a score: its confidence interval, and its value with partners chosen on others."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import stdtrit
from torch import Tensor

from equivariance.statistics.moments import Moments


@dataclass(frozen=True)
class Score:
    """A score, its chance level, its cross-fitted value, and what it is without each block of images."""

    value: float
    chance: float
    cross_fitted: float
    without: list[float]


def cross_fitted(whole: Moments, held_out: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Scores whose partners are chosen on other images than those that judge them; NaN with fewer than two parts.

    The partner of channel c is the argmax over c' of r[c, c'] on all parts of the stream but one, and that part
    says how similar the two are. The plug-in maximum errs upwards with few images, this one downwards: no relu is
    taken of what a part says, which would count the luck of one side alone. The invariance has no choice to make:
    its value is the plug-in one.

    Args:
        whole: the statistics of all images.
        held_out: what each part has said, see `Moments.held_out`.
    """
    found = whole.values()
    if len(held_out) < 2:
        return found | {"equivariance": math.nan}
    if not whole.cross_fits:
        return found
    sums, counts = (torch.stack(each).sum(0) for each in zip(*held_out, strict=True))
    mean = (sums / counts)[~whole.dead()]
    return found | {"equivariance": mean.clamp(-1, 1).nanmean().relu().item()}


def half_width(whole: float, without: Sequence[float], sizes: Sequence[int], level: float = 0.95) -> float:
    """Half the width of the confidence interval of an estimate, by the delete-m jackknife for unequal blocks.

    Of B blocks of m_j among n images, with h_j = n / m_j and the pseudo-values x_j = h_j x - (h_j - 1) x_(-j),

        variance = 1/B sum_j (x_j - mean x)^2 / (h_j - 1),    mean x = B x - sum_j (1 - m_j / n) x_(-j)

    (Busing, Meijer & van der Leeden 1999); with equal blocks the usual jackknife. The half width is the quantile of
    Student's distribution with B - 1 degrees of freedom times the square root.

    Args:
        whole: the estimate x from all images.
        without: x_(-j), the estimates that leave out one block each.
        sizes: m_j, the images of each block.

    Returns:
        NaN with fewer than two blocks.
    """
    blocks, images = len(sizes), sum(sizes)
    if blocks < 2:
        return math.nan
    h = [images / size for size in sizes]
    pseudo = [each * whole - (each - 1) * x for each, x in zip(h, without, strict=True)]
    mean = blocks * whole - sum((1 - 1 / each) * x for each, x in zip(h, without, strict=True))
    variance = sum((x - mean) ** 2 / (each - 1) for each, x in zip(h, pseudo, strict=True)) / blocks
    return float(stdtrit(blocks - 1, (1 + level) / 2)) * math.sqrt(variance)
