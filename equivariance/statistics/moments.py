"""Sums over a stream of positions, from which the similarity of every channel with every other one follows.

For a layer f and a transformation g, let a_c = f(T_g x)_c and b_c' = (T_g f(x))_c'. `Moments` keeps

    n,  sum a_c,  sum b_c',  sum a_c^2,  sum b_c'^2,  sum a_c b_c'

of the differences from an origin. Two readings of the similarity r[c, c'] follow:

- over each image: r_i, Pearson's correlation of a_c and b_c' over the positions of image i, averaged over the
  images (paper, Eq. 4 and 7; thesis, Sec. 3.4), see `over_images`;
- over the data set: one correlation over all images and positions,
  S_ab / sqrt(S_aa S_bb) with S_ab = sum (a - mean a)(b - mean b), see `over_dataset`.

With `similarity="cosine"` nothing is centred. Memory does not grow with the number of images, and the sums of two
parts of a stream merge exactly into those of the whole (Chan, Golub & LeVeque 1983).

The chance level is the same similarity of pairs of different images, images 2i and 2i + 1 of the stream, in sums of
its own: a with the `mismatched` b.
"""

from copy import copy
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, Self

import torch
from torch import Tensor

from equivariance.statistics.formulas import FORMULAS

# A channel is dead when its deviation is within what float32 rounding makes of a constant map.
DEAD = 8 * torch.finfo(torch.float32).eps
SMALL = 1e-18  # and dead is one whose squares fall below those that float32 holds with all digits
CHANCE_CHANNELS = 64  # so many rows of the chance level's matrix are kept: the mean over c needs no more


@cache
def chance_channels(channels: int, device: torch.device | str = "cpu") -> Tensor:
    """The rows c of which the chance level is kept: all, or `CHANCE_CHANNELS` evenly spaced ones."""
    rows = min(channels, CHANCE_CHANNELS)
    return torch.arange(rows, device=device) * channels // max(rows, 1)


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
        values: (n, p, c), less the origin, or standardised image by image.
        total: (c,), the sum over images of each channel's mean; not finite where a square is not.
        sums, squares: (c,), of the values.
        origin: (c,), what was subtracted; None where the values are standardised.
        live: (n, c), 1 where a channel has variance within the image, else 0; None where all have.
    """

    values: Tensor
    total: Tensor
    sums: Tensor
    squares: Tensor
    origin: Tensor | None = None
    live: Tensor | None = None

    @cached_property
    def mismatched(self) -> Self:
        """Of an even number of images, each in the place of its neighbour: 1, 0, 3, 2, ..."""

        def exchanged(x: Tensor) -> Tensor:
            return x.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)

        live = None if self.live is None else exchanged(self.live)
        return replace(self, values=exchanged(self.values), live=live)


class Moments:
    """Sums of products of the channels of two sides over a stream of positions, kept as tensors and plain values.

    Vectors by channel hold those of both sides, the left one's first.

    Args:
        left, right: channels of each side; None: as many.
        chance: keep the rows `chance_channels` alone.

    Attributes:
        images, count: images and positions that have been added.
        origin: (left + right,), what was subtracted; None before anything is added, and of standardised values.
        sums, squares: (left + right,), of the differences.
        total: (left + right,), sums over images of each channel's mean.
        rounding: (left + right,), variances below which are rounding errors, where sums were taken away again.
        products: (left, right), or (k, right) with `chance`.
        cross_fits: whether partners are chosen over all images, so that they can be chosen on other ones.
    """

    cross_fits = True

    def __init__(
        self,
        left: int,
        right: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        similarity: str = "pearson",
        chance: bool = False,
    ):
        right = left if right is None else right
        self.left, self.similarity, self.images, self.count = left, similarity, 0, 0
        self.origin: Tensor | None = None
        vectors = torch.zeros(4, left + right, dtype=dtype, device=device)
        self.total, self.sums, self.squares, self.rounding = vectors
        rows = len(chance_channels(left)) if chance else left
        self.products = torch.zeros(rows, right, dtype=dtype, device=device)

    def side(self, maps: Tensor, original: bool, owned: bool = False) -> Side:
        """Maps (n, c, ...) made ready to be added; several transformations may share the side of the original.

        Args:
            original: they are T_g f(x), not f(T_g x).
            owned: nobody else reads these maps, so that they may be overwritten.
        """
        raise NotImplementedError

    def add(self, a: Side, b: Side) -> None:
        """Add the maps of n images: the sides of f(T_g x) and of T_g f(x)."""
        if self.origin is None and a.origin is not None and b.origin is not None:
            self.origin = torch.cat([a.origin, b.origin])
        self.images += len(a.values)
        self.count += a.values.shape[0] * a.values.shape[1]
        self.total += torch.cat([a.total, b.total])
        self.sums += torch.cat([a.sums, b.sums])
        self.squares += torch.cat([a.squares, b.squares])
        self._add_products(self._rows(a.values), b.values)

    def merge(self, other: Self, sign: int = 1) -> None:
        """Add the sums of another part of the stream; with sign -1, take them away."""
        if not other.images:
            return
        self.similarity, dtype = other.similarity, self.sums.dtype
        if sign < 0:
            self.rounding = self.squares * (1e-12 / self.count)
        self.products.add_(other.products, alpha=sign)
        sums, squares = other.sums.to(dtype), other.squares.to(dtype)
        if other.origin is not None:
            if self.origin is None:
                self.origin = other.origin.to(dtype)
            gap = other.origin.to(dtype) - self.origin
            self.products.addmm_(*other._shift(gap), alpha=sign)
            squares = squares + 2 * gap * sums + other.count * gap.square()
            sums = sums + other.count * gap
        for mine, theirs in ((self.sums, sums), (self.squares, squares), (self.total, other.total)):
            mine.add_(theirs, alpha=sign)
        self.images += sign * other.images
        self.count += sign * other.count

    def without(self, part: Self) -> Self:
        """The sums of all images but those of a part of the stream."""
        others = copy(self)
        others.load(self.state())
        others.merge(part, -1)
        return others

    def state(self) -> dict[str, Any]:
        """All sums, copied."""
        return {key: value.clone() if isinstance(value, Tensor) else value for key, value in vars(self).items()}

    def load(self, state: dict[str, Any], device: torch.device | str | None = None) -> Self:
        """Take over the sums that `state()` describes; without a device, each where it lies."""
        for key, value in state.items():
            setattr(self, key, value.to(device or value.device) if isinstance(value, Tensor) else value)
        return self

    def sides(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """What belongs to the left and to the right side."""
        return values[: self.left], values[self.left :]

    def means(self) -> Tensor:
        """(left + right,), of all positions."""
        return (0 if self.origin is None else self.origin) + self.sums / max(self.count, 1)

    def centre(self) -> Tensor | None:
        """What the values are compared about: their means, or 0 for the cosine; None where they are as they are."""
        if self.origin is None:
            return None
        return self.means() if self.similarity == "pearson" else torch.zeros_like(self.sums)

    def about(self, centre: Tensor | None) -> Tensor:
        """The sums of products of the differences from `centre`."""
        if centre is None or self.origin is None:
            return self.products
        return self.products.addmm(*self._shift(self.origin - centre))

    def squares_about(self, centre: Tensor | None) -> Tensor:
        """The sums of squares (left + right,) of the differences from `centre`."""
        if centre is None or self.origin is None:
            return self.squares
        gap = self.origin - centre
        return (self.squares + 2 * gap * self.sums + self.count * gap.square()).clamp_(min=0)

    def constant(self) -> Tensor:
        """The channels (left + right,) whose values are 0/0 in a similarity over all positions."""
        centre, count = self.centre(), max(self.count, 1)
        least = (DEAD * self.means()).square() if self.similarity == "pearson" else 0
        return self.squares_about(centre) / count <= least + SMALL**2 + self.rounding

    def similarities(self) -> Tensor:
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

    def dead(self) -> Tensor:
        """Channels whose similarity is defined for no image, on either side, bool (c,): it would be 0/0."""
        raise NotImplementedError

    def live_share(self) -> float:
        """The share of channels that have variance on both sides, averaged over images."""
        raise NotImplementedError

    def values(self, r: Tensor | None = None) -> dict[str, float]:
        """For each of `FORMULAS` its value; r: `similarities()`, where they are known."""
        r = self.similarities() if r is None else r
        rows = None if len(r) == r.shape[1] else chance_channels(r.shape[1], r.device)
        return {name: score(r, rows) for name, score in FORMULAS.items()}

    def _shift(self, gap: Tensor) -> tuple[Tensor, Tensor]:
        """Two matrices whose product changes `products` where all values grow by `gap`."""
        (a, b), (sums_a, sums_b) = self.sides(gap), self.sides(self.sums.to(gap.dtype))
        left = torch.stack([self._rows(a), self._rows(sums_a + self.count * a)], 1)
        return left, torch.stack([sums_b, b])

    def _add_products(self, a: Tensor, b: Tensor) -> None:
        if a.shape[1] < 4 * b.shape[2]:  # of large maps image by image: long sums lose digits in float32
            a, b = a.flatten(0, 1)[None], b.flatten(0, 1)[None]
        self.products += (a.mT @ b).sum(0, dtype=self.products.dtype)

    def _rows(self, values: Tensor) -> Tensor:
        """Of values by channel of the left side (..., c) those of the rows of `products`."""
        channels, rows = values.shape[-1], len(self.products)
        if rows == channels:
            return values
        step, rest = divmod(channels, rows)  # a slice is five times as fast as an index
        return values[..., chance_channels(channels, values.device)] if rest else values[..., ::step].contiguous()


def chosen_columns(matrix: Tensor, columns: Tensor) -> Tensor:
    """matrix[c, columns[c]] for each row c."""
    return matrix.gather(1, columns[:, None])[:, 0]
