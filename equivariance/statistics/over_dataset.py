"""Similarity over the data set: one correlation over all images and positions."""

import torch
from torch import Tensor

from equivariance.statistics.moments import Moments, Side, chosen_columns, positions_by_channels, subtracted


def less_origin(maps: Tensor, origin: Tensor | None = None, owned: bool = False) -> Side:
    """A side of maps (n, c, ...) less an origin (c,), None: their mean.

    So maps with mean 1000 and deviation 1 keep their digits in float32.

    Args:
        owned: nobody else reads these maps, so that they may be overwritten.
    """
    x = positions_by_channels(maps)
    origin = x.flatten(0, 1).mean(0) if origin is None else origin
    values = subtracted(x, origin, maps, owned)
    flat = values.flatten(0, 1)
    sums, squares = flat.sum(0), (flat * flat).sum(0)
    total = sums / x.shape[1] + len(x) * origin + 0 * squares  # NaN where squares are too large for float32
    return Side(values, total, sums, squares, origin)


class DatasetStatistics(Moments):
    """One similarity over all images and positions; all sums are of differences from the mean of the first maps."""

    def side(self, maps: Tensor, original: bool, owned: bool = False) -> Side:
        return less_origin(maps, None if self.origin is None else self.sides(self.origin)[int(original)], owned)

    def similarities(self) -> Tensor:
        centre, dead = self.centre(), self.dead()
        a, b = self.sides(self.squares_about(centre))
        r = self.about(centre) / torch.outer(self._rows(a), b).sqrt()
        return r.clamp_(-1, 1).masked_fill_(self._rows(dead)[:, None] | dead, torch.nan)

    def held_out(self, partners: Tensor, whole: Moments) -> tuple[Tensor, Tensor]:
        """About the means of the whole, and divided by its deviations."""
        centre, dead = whole.centre(), whole.dead()
        a, b = self.sides(whole.squares_about(centre) / whole.count)
        left_out = dead | dead[partners]
        r = chosen_columns(self.about(centre), partners) / (a * b[partners]).sqrt()
        return r.masked_fill(left_out, 0), (~left_out) * self.count

    def dead(self) -> Tensor:
        a, b = self.sides(self.constant())
        return a | b

    def live_share(self) -> float:
        return 1 - self.dead().double().mean().item()
