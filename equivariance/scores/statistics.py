"""The similarity of every channel with every other one, as sums over a stream of images.

For channels c, c' the pooled Pearson correlation of a = f(T_g x)_c and b = (T_g f(x))_c' runs over all images
and positions:

    r[c, c'] = S_ab / sqrt(S_aa S_bb),    S_ab = sum (a - mean a)(b - mean b)

Only the counts, the means and the sums S are kept, so memory does not grow with the number of images, and
two halves of a stream merge exactly into the whole (Chan, Golub & LeVeque 1983).
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor

# A channel is dead when its deviation is within what float32 rounding makes of a constant map.
DEAD = 8 * torch.finfo(torch.float32).eps
CHANCE_CHANNELS = 64  # so many rows of the chance level's matrix are kept: the mean over c needs no more


@cache
def chance_channels(channels: int, device: torch.device | str = "cpu") -> Tensor:
    """The rows c of which the chance level is kept: all, or `CHANCE_CHANNELS` evenly spaced ones."""
    rows = min(channels, CHANCE_CHANNELS)
    return torch.arange(rows, device=device) * channels // max(rows, 1)


def neighbours(images: slice) -> Iterator[tuple[slice | list[int], float]]:
    """Images 2i and 2i + 1 side by side, each the other's partner for the chance level.

    The last three of an odd number make three pairs, each of them in two; so their sums count half.

    Yields:
        Which images, an even number, and the weight of their sums.
    """
    odd = (images.stop - images.start) % 2
    if images.stop - images.start > 3 * odd:
        yield slice(images.start, images.stop - 3 * odd), 1.0
    if odd:
        x, y, z = range(images.stop - 3, images.stop)
        yield [x, y, y, z, z, x], 0.5


def paired(maps: Tensor) -> Tensor:
    """Maps (k, n, c, ...) of neighbouring images as their n / 2 sums x + y and then their n / 2 differences x - y.

    With them the products of true pairs and those of different images take one multiplication together:

        x x' + y y' = [(x + y)(x' + y') + (x - y)(x' - y')] / 2
        x y' + y x' = [(x + y)(x' + y') - (x - y)(x' - y')] / 2

    Returns:
        (k, n, c, ...), channels last in memory, in float32 or better.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    first, second = maps.movedim(2, -1).unflatten(1, (-1, 2)).unbind(2)
    both = maps.new_empty(len(maps), 2, *first.shape[1:])
    torch.add(first, second, out=both[:, 0])
    torch.sub(first, second, out=both[:, 1])
    return both.flatten(1, 2).movedim(-1, 2)


class Centred:
    """`paired` maps (n, c, ...) as matrices of positions and channels, ready to be multiplied.

    Args:
        maps: taken over and changed in place, unless `shared`.
        origin: what to subtract from the sums, (c,); None for their means.

    Attributes:
        maps: as they came, if `shared`.
        origin: what was subtracted.
        matrix: (2, positions / 2, c), of sums and of differences.
        rest, squares: (c,), the sums of the sums, and of all squares.
    """

    def __init__(self, maps: Tensor, origin: Tensor | None = None, shared: bool = False):
        matrix = maps.movedim(1, -1).reshape(2, -1, maps.shape[1])
        if shared and matrix.data_ptr() == maps.data_ptr():
            matrix = matrix.clone()
        sums = matrix[0]
        self.maps, self.matrix = maps, matrix
        self.origin = sums.mean(0) if origin is None else origin
        sums -= self.origin
        self.rest = sums.sum(0)
        self.squares = (matrix * matrix).flatten(0, 1).sum(0)


class Products:
    """What `PairStatistics` keeps, of the images of one batch and in its precision: sums that are fast to fill.

    All are of differences from an origin, the mean of the first maps: maps with mean 1000 and deviation 1 keep
    their digits in float32.
    """

    def __init__(self, channels: int, device: torch.device | str, dtype: torch.dtype):
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.count = 0
        self.origins = None, None  # of `Centred` f(T_g x) and T_g f(x), and their sums:
        self.rests, self.squares = (zeros(channels), zeros(channels)), (zeros(channels), zeros(channels))
        self.products = zeros(2, channels, channels)  # of sums, of differences

    def add(self, a: Tensor, b: Tensor | Centred, weight: float = 1.0) -> None:
        """Add the maps of some images, n of them (c, ...).

        Args:
            a: f(T_g x), `paired`; taken over.
            b: T_g f(x), likewise, of the same shape, and left as it is. `Centred` about the same origin it saves
                work where several transformations are compared with the same maps.
            weight: of these images, see `neighbours`.
        """
        sides = (
            Centred(a, self.origins[0]),
            b if isinstance(b, Centred) else Centred(b, self.origins[1], shared=True),
        )
        self.origins = tuple(side.origin for side in sides)
        self.count += int(weight * 2 * sides[0].matrix.shape[1])
        for side, rest, squares in zip(sides, self.rests, self.squares, strict=True):
            rest.add_(side.rest, alpha=weight)
            squares.add_(side.squares, alpha=weight)
        self.products.baddbmm_(sides[0].matrix.mT, sides[1].matrix, alpha=weight)

    def statistics(self) -> "PairStatistics":
        """These sums as statistics, ready to be merged; this object may be used no more."""
        found = PairStatistics(0, self.products.device, self.products.dtype)
        if self.count:
            found.count = self.count
            found.origin = torch.stack(self.origins) / 2
            found.rest, found.square = torch.stack(self.rests), torch.stack(self.squares) / 2
            sums, differences = self.products
            kept = chance_channels(len(sums), sums.device)
            found.chance = (sums[kept] - differences[kept]) / 2
            found.cross = sums.add_(differences).div_(2)
        return found


class PairStatistics:
    """Running second moments of the channels of two feature maps, of one layer under one transformation.

    Next to the pairs (f(T_g x_i), T_g f(x_i)) it keeps the cross products of pairs from different images,
    (f(T_g x_i), T_g f(x_j)): their similarity is the chance level. Each image is used equally on each side, so
    that means and deviations are the same for both. Of these the rows of `chance_channels` are kept.

    Batches, summed in float32 as `Products`, merge in float64.

    Attributes:
        count: positions of all images.
        origin: (2, c), of f(T_g x) and of T_g f(x).
        rest, square: (2, c), sums of the differences from the origin, and of their squares.
        cross: (c, c), sums of their products; rows f(T_g x), columns T_g f(x).
        chance: (k, c), the same for pairs of different images, rows `chance_channels`.
    """

    batch = Products

    def __init__(self, channels: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64):
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.count = 0
        self.origin, self.rest, self.square = zeros(2, channels), zeros(2, channels), zeros(2, channels)
        self.cross = zeros(channels, channels)
        self.chance = zeros(len(chance_channels(channels)), channels)

    @classmethod
    def of(cls, a: Tensor, b: Tensor) -> Self:
        """The statistics of the maps of n >= 2 images, as for `update`."""
        statistics = cls(a.shape[1], a.device)
        statistics.update(a, b)
        return statistics

    def update(self, a: Tensor, b: Tensor) -> None:
        """Add the maps of n >= 2 images: f(T_g x) and T_g f(x), each (n, c, ...)."""
        batch = self.batch(a.shape[1], a.device, torch.promote_types(a.dtype, torch.float32))
        for images, weight in neighbours(slice(0, len(a))):
            batch.add(*paired(torch.stack([a[images], b[images]])), weight)
        self.merge(batch.statistics())

    def state(self) -> dict[str, Any]:
        """All sums, on the CPU."""
        return {key: value.cpu() if isinstance(value, Tensor) else value for key, value in vars(self).items()}

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device | str = "cpu") -> Self:
        """The statistics that `state()` describes."""
        statistics = cls(0, device)
        for key, value in state.items():
            setattr(statistics, key, value.to(device) if isinstance(value, Tensor) else value)
        return statistics

    def merge(self, other: Self) -> None:
        """Add the statistics of another part of the stream, its sums brought to the origin of these."""
        if other.count == 0:
            return
        if self.count == 0:
            self.origin = other.origin.to(self.rest.dtype)
        gap, rest, n = other.origin - self.origin, other.rest.to(self.rest.dtype), other.count
        self.square += other.square + 2 * gap * rest + n * gap.square()
        left, right = torch.stack([gap[0], rest[0] + n * gap[0]], 1), torch.stack([rest[1], gap[1]])
        for sums, more in ((self.cross, other.cross), (self.chance, other.chance)):
            sums.add_(more).addmm_(self._rows(sums, left), right)
        self.rest += rest + n * gap
        self.count += n

    @property
    def mean(self) -> Tensor:
        """(2, c), of f(T_g x) and T_g f(x)."""
        return self.origin + self.rest / max(self.count, 1)

    def variance(self) -> Tensor:
        """(2, c), of f(T_g x) and T_g f(x)."""
        count = max(self.count, 1)
        return self.square / count - (self.rest / count).square()

    def dead(self) -> Tensor:
        """Channels without variance on one of the two sides, bool (c,): their correlation is 0/0."""
        return (self.variance() <= (DEAD * self.mean).square()).any(0)

    def activation(self) -> float:
        """Mean of f(x) over images, positions and channels."""
        return self.mean[1].mean().item()

    def correlation(self, chance: bool = False) -> Tensor:
        """Pearson's r (c, c), rows f(T_g x), columns T_g f(x), in [-1, 1]; NaN where either channel is dead.

        Of the chance level only the rows of `chance_channels`: (k, c).
        """
        return self._divided(self._covariance(chance), self.variance(), self.dead())

    def cosine(self, chance: bool = False) -> Tensor:
        """sum a b / sqrt(sum a^2 sum b^2), as `correlation` without centring; NaN where either channel is zero."""
        products, mean = self._covariance(chance), self.mean
        products.addr_(self._rows(products, mean[0]), mean[1])
        norm = self.variance() + mean.square()
        return self._divided(products, norm, (norm == 0).any(0))

    def _covariance(self, chance: bool) -> Tensor:
        cross, count = self.chance if chance else self.cross, max(self.count, 1)
        rest = self.rest / count
        return (cross / count).addr_(self._rows(cross, rest[0]), rest[1], alpha=-1)

    def _divided(self, products: Tensor, squares: Tensor, dead: Tensor) -> Tensor:
        r = products / torch.outer(self._rows(products, squares[0]), squares[1]).sqrt()
        return r.clamp_(-1, 1).masked_fill_(self._rows(r, dead)[:, None] | dead, torch.nan)

    @staticmethod
    def _rows(matrix: Tensor, values: Tensor) -> Tensor:
        """Of values by channel those of the rows of a matrix (c, c) or (k, c)."""
        square = len(matrix) == len(values)
        return values if square else values[chance_channels(len(values), values.device)]

    def similarities(self, similarity: str, chance: bool = False) -> Tensor:
        """(c, c): cosines if asked for, otherwise pooled correlations."""
        return self.cosine(chance) if similarity == "cosine" else self.correlation(chance)

    def scores(self, similarity: str) -> dict[str, tuple[float, float]]:
        """For each of `MEASURES` its value and chance level; similarity is "pearson" or "cosine"."""
        r, chance = (self.similarities(similarity, chance) for chance in (False, True))
        rows = chance_channels(len(r))
        return {name: (score(r), score(chance, rows)) for name, score in MEASURES.items()}


def merged(parts: Sequence[PairStatistics]) -> PairStatistics:
    """The statistics of all parts of a stream together; the parts stay as they are."""
    whole = type(parts[0])(len(parts[0].cross), parts[0].cross.device)
    for part in parts:
        whole.merge(part)
    return whole


def leave_one_out(parts: Sequence[PairStatistics]) -> Iterator[PairStatistics]:
    """For each part of a stream, the statistics of all others together; about three merges each."""
    if len(parts) == 1:
        return
    before, after = merged(parts[:1]), [merged(parts[-1:])]
    for part in parts[-2:0:-1]:
        after.append(merged([after[-1], part]))
    yield after.pop()
    for part in parts[1:-1]:
        yield merged([before, after.pop()])
        before.merge(part)
    yield before


def invariance(r: Tensor, own: Tensor | None = None) -> float:
    """Mean over c of relu(r[c, c]) (paper, Eq. 4); in [0, 1], dead channels left out, NaN if all are.

    Args:
        r: (c, c), or some of its rows: (k, c).
        own: (k,), the channels c of these rows; all of them if None.
    """
    diagonal = r.diagonal() if own is None else r.gather(1, own.to(r.device)[:, None])
    return diagonal.relu().nanmean().item()


def equivariance(r: Tensor, own: Tensor | None = None) -> float:
    """Mean over c of max over c' of relu(r[c, c']) (paper, Eq. 7); as `invariance`, and never smaller."""
    best = r.relu().nan_to_num(-torch.inf).amax(1)
    return best[best >= 0].mean().item()


MEASURES = {"invariance": invariance, "equivariance": equivariance}
