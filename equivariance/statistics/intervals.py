"""Confidence intervals of scores over images, by leaving out one block of images at a time."""

import math
from collections.abc import Sequence

from scipy.stats import t as student


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
    return float(student.ppf((1 + level) / 2, blocks - 1)) * math.sqrt(variance)
