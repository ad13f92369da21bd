"""The similarity of every channel with every other one, as sums over a stream of images.

For a layer f and a transformation g, let a_c = f(T_g x)_c and b_c' = (T_g f(x))_c'. Two readings of their
similarity r[c, c'] are kept as sums:

- over each image: r_i, Pearson's correlation of a_c and b_c' over the positions of image i, averaged over the
  images (paper, Eq. 4 and 7; thesis, Sec. 3.4);
- over the data set: one correlation over all images and positions,
  S_ab / sqrt(S_aa S_bb) with S_ab = sum (a - mean a)(b - mean b).

With `similarity="cosine"` nothing is centred. Memory does not grow with the number of images, and the sums of two
halves of a stream merge exactly into those of the whole (Chan, Golub & LeVeque 1983).

Beside the true pairs every class keeps the same sums for pairs of different images: images 2i and 2i + 1 are each
other's mismatch. Their similarity is the chance level.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Self

import torch
from torch import Tensor

from equivariance.statistics.formulas import FORMULAS

# A channel is dead when its deviation is within what float32 rounding makes of a constant map.
DEAD = 8 * torch.finfo(torch.float32).eps
CHANCE_CHANNELS = 64  # so many rows of the chance level's matrix are kept: the mean over c needs no more


@cache
def chance_channels(channels: int, device: torch.device | str = "cpu") -> Tensor:
    """The rows c of which the chance level is kept: all, or `CHANCE_CHANNELS` evenly spaced ones."""
    rows = min(channels, CHANCE_CHANNELS)
    return torch.arange(rows, device=device) * channels // max(rows, 1)


def mismatches(images: int) -> list[tuple[list[int] | None, float]]:
    """For each image another one, as orders of the images, and the weight of these pairs.

    Of an even number of images each meets its neighbour, 2i and 2i + 1; None stands for that order. Of three images
    each meets both others, at half the weight.
    """
    if images % 2 == 0:
        return [(None, 1.0)]
    if images == 3:
        return [([1, 2, 0], 0.5), ([2, 0, 1], 0.5)]
    raise ValueError(f"{images} images cannot be paired: give an even number of them, or three")


def reordered(values: Tensor, order: list[int] | None) -> Tensor:
    """Values (n, ...) in one of the orders of `mismatches`."""
    return values.unflatten(0, (-1, 2)).flip(1).flatten(0, 1) if order is None else values[order]


def positions_by_channels(maps: Tensor) -> Tensor:
    """Maps (n, c, ...) as (n, p, c), contiguous, in float32 or better; a view where they lie channels-last."""
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    return maps[:, None] if maps.ndim == 2 else maps.movedim(1, -1).flatten(1, -2).contiguous()


def subtracted(x: Tensor, what: Tensor | None, maps: Tensor, owned: bool) -> Tensor:
    """x less `what`; in place where x is a copy of the maps or they are nobody else's, not in the network's own."""
    if owned or x.data_ptr() != maps.data_ptr():
        return x if what is None else x.sub_(what)
    return x.clone() if what is None else x - what


@dataclass
class Side:
    """One side of a comparison, made ready for the matrix product.

    Attributes:
        values: (n, p, c), centred or standardised.
        total: (c,), the sum over images of each channel's mean.
        live: (n, c), 1 where a channel has variance within the image, else 0; None where all have.
    """

    values: Tensor
    total: Tensor
    live: Tensor | None = None

    @cached_property
    def mismatched(self) -> list[tuple[Tensor, Tensor | None, float]]:
        """For each order of `mismatches` the values and `live` of other images, and the weight of these pairs."""
        orders = mismatches(len(self.values))
        return [
            (reordered(self.values, order), None if self.live is None else reordered(self.live, order), weight)
            for order, weight in orders
        ]


@dataclass(frozen=True)
class Score:
    """A score, its chance level, its cross-fitted value, and what it is without each block of images."""

    value: float
    chance: float
    cross_fitted: float
    without: list[float]


class StreamSums:
    """Sums over a stream of images, which are kept and sent as tensors and plain values."""

    def state(self) -> dict[str, Any]:
        """All sums, copied."""
        return {key: value.clone() if isinstance(value, Tensor) else value for key, value in vars(self).items()}

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device | str | None = None) -> Self:
        """The sums that `state()` describes; None: each where it lies."""
        sums = cls.__new__(cls)
        for key, value in state.items():
            setattr(sums, key, value.to(device or value.device) if isinstance(value, Tensor) else value)
        return sums

    def copy(self) -> Self:
        """The same sums once more."""
        return self.from_state(self.state())


class PairStatistics(StreamSums):
    """What both readings share. One layer under one transformation.

    Attributes:
        images: how many have been added.
        cross: (c, c), sums of products; rows f(T_g x), columns T_g f(x).
        chance: (k, c), the same for pairs of different images, rows `chance_channels`.
        total: (2, c), sums over images of the mean of f(T_g x)_c and of (T_g f(x))_c.
        cross_fits: whether partners are chosen over all images, so that they can be chosen on other ones.
    """

    cross_fits = True

    def __init__(
        self,
        channels: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        similarity: str = "pearson",
    ):
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.similarity = similarity
        self.images = 0
        self.cross, self.chance = zeros(channels, channels), zeros(len(chance_channels(channels)), channels)
        self.total = zeros(2, channels)

    @classmethod
    def start(cls, maps: Tensor, similarity: str = "pearson") -> Self:
        """Empty sums for maps (n, c, ...) like these, in float32 or better."""
        return cls(maps.shape[1], maps.device, torch.promote_types(maps.dtype, torch.float32), similarity)

    def side(self, maps: Tensor, original: bool, owned: bool = False) -> Side:
        """Maps (n, c, ...) made ready to be added; several transformations may share the side of the original.

        Args:
            original: they are T_g f(x), not f(T_g x).
            owned: nobody else reads these maps, so that they may be overwritten.
        """
        raise NotImplementedError

    def add(self, a: Side, b: Side) -> None:
        """Add the maps of n images, an even number or three.

        Args:
            a, b: sides of f(T_g x) and of T_g f(x).
        """
        self.images += len(a.values)
        self.total += torch.stack([a.total, b.total])
        self._add_products(self.cross, a.values, b.values)
        rows = self._chance_rows(a.values)
        for values, _, weight in b.mismatched:
            self._add_products(self.chance, rows, values, weight)

    def merge(self, other: Self, sign: int = 1) -> None:
        """Add the sums of another part of the stream; with sign -1, take them away."""
        raise NotImplementedError

    def without(self, part: Self) -> Self:
        """The statistics of all images but those of a part of the stream."""
        others = self.copy()
        others.merge(part, -1)
        return others

    def similarities(self, chance: bool = False) -> Tensor:
        """r (c, c) in [-1, 1], rows f(T_g x), columns T_g f(x); NaN where it is not defined.

        Of the chance level only the rows of `chance_channels`: (k, c).
        """
        raise NotImplementedError

    def held_out(self, partners: Tensor, whole: Self) -> tuple[Tensor, Tensor]:
        """What this part of the stream says of each channel and a partner that the other parts have chosen.

        Args:
            partners: (c,), the partner of each channel.
            whole: the statistics of all images.

        Returns:
            (c,), sums of similarities, and the numbers that divide them.
        """
        raise NotImplementedError

    def centred(self, whole: Self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Sums of products about the means of the whole, as far as this reading has any: what `linear` needs.

        Returns:
            (c, c) those of true pairs; (k, c) of pairs of different images; (c,) the squares of f(T_g x); and (c,)
            the means of T_g f(x), None where the values have been centred image by image.
        """
        raise NotImplementedError

    def dead(self) -> Tensor:
        """Channels whose similarity is defined for no image, on either side, bool (c,): it would be 0/0."""
        raise NotImplementedError

    def live_share(self) -> float:
        """The share of channels that have variance on both sides, averaged over images."""
        raise NotImplementedError

    def activation(self) -> float:
        """Mean of f(x) over images, positions and channels."""
        return (self.total[1] / max(self.images, 1)).mean().item()

    def scores(self) -> dict[str, tuple[float, float]]:
        """For each of `FORMULAS` its value and chance level."""
        r, chance = self.similarities(), self.similarities(chance=True)
        rows = chance_channels(len(r))
        return {name: (score(r), score(chance, rows)) for name, score in FORMULAS.items()}

    def values(self, r: Tensor) -> dict[str, float]:
        """For each of `FORMULAS` its value, r being `similarities()`."""
        return {name: score(r) for name, score in FORMULAS.items()}

    def _add_products(self, sums: Tensor, a: Tensor, b: Tensor, weight: float = 1.0) -> None:
        sums.addmm_(a.flatten(0, 1).mT, b.flatten(0, 1), alpha=weight)

    @staticmethod
    def _chance_rows(values: Tensor) -> Tensor:
        """The values of the rows `chance_channels`: (..., c) to (..., k)."""
        channels = values.shape[-1]
        if channels <= CHANCE_CHANNELS:
            return values
        step, rest = divmod(channels, CHANCE_CHANNELS)  # a slice is five times as fast as an index
        return values[..., chance_channels(channels, values.device)] if rest else values[..., ::step].contiguous()


def cross_fitted(whole: PairStatistics, held_out: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Scores whose partners are chosen on other images than those that judge them; NaN with fewer than two parts.

    The partner of channel c is the argmax over c' of r[c, c'] on all parts of the stream but one, and that part
    says how similar the two are. The plug-in maximum errs upwards with few images, this one downwards: no relu is
    taken of what a part says, which would count the luck of one side alone. The invariance has no choice to make:
    its value is the plug-in one.

    Args:
        whole: the statistics of all images.
        held_out: what each part has said, see `PairStatistics.held_out`.
    """
    found = whole.values(whole.similarities())
    if len(held_out) < 2:
        return found | {"equivariance": math.nan}
    if not whole.cross_fits:
        return found
    sums, counts = (torch.stack(each).sum(0) for each in zip(*held_out, strict=True))
    mean = (sums / counts)[~whole.dead()]
    return found | {"equivariance": mean.clamp(-1, 1).nanmean().relu().item()}


def chosen_columns(matrix: Tensor, columns: Tensor) -> Tensor:
    """matrix[c, columns[c]] for each row c."""
    return matrix.gather(1, columns[:, None])[:, 0]
