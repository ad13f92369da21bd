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
CHANCE_CHANNELS = 64  # so many rows of the chance level's matrix are computed: the mean over c needs no more


class Centred:
    """Feature maps (n, c, ...) as a matrix of positions and channels, ready to be multiplied.

    Args:
        origin: (c,), about where their mean lies; None for the mean itself.

    Attributes:
        origin: (c,), what was subtracted.
        matrix: (positions, c), positions in the order of images.
        rest, squares: (c,), the sums of its columns, and of their squares.
    """

    def __init__(self, maps: Tensor, origin: Tensor | None = None):
        flat = maps.movedim(1, -1).reshape(-1, maps.shape[1])
        flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
        self.origin = flat.mean(0) if origin is None else origin
        self.matrix = flat - self.origin
        self.rest = self.matrix.sum(0)
        self.squares = (self.matrix * self.matrix).sum(0)


class Originals(Centred):
    """The side T_g f(x) of n >= 2 images, (n, c, ...), beside itself with the images exchanged.

    Attributes:
        exchanged: as `matrix`, with every image replaced by its partner.
    """

    def __init__(self, maps: Tensor, origin: Tensor | None = None):
        super().__init__(maps, origin)
        self.maps = maps
        images = self.matrix.unflatten(0, (len(maps), -1))
        self.exchanged = images[partners(len(maps), maps.device)].flatten(0, 1)


@cache
def chance_channels(channels: int, device: torch.device | str = "cpu") -> Tensor:
    """The rows c of which the chance level is computed: all, or `CHANCE_CHANNELS` evenly spaced ones."""
    rows = min(channels, CHANCE_CHANNELS)
    return torch.arange(rows, device=device) * channels // max(rows, 1)


class PairStatistics:
    """Running second moments of the channels of two feature maps, of one layer under one transformation.

    Next to the pairs (f(T_g x_i), T_g f(x_i)) it keeps the cross products of pairs from different images,
    (f(T_g x_i), T_g f(x_j)): their similarity is the chance level. Each image is used once on each side, so
    that means and deviations are the same for both. Of these the rows of `chance_channels` are kept.

    All sums are of differences from an origin, the mean of the first maps: maps with mean 1000 and deviation 1 keep
    their digits in float32. The sums of a batch are float32, as a matrix product's are; batches merge in float64.

    Attributes:
        count: positions of all images.
        origin: (2, c), of f(T_g x) and of T_g f(x).
        rest, square: (2, c), sums of the differences from the origin, and of their squares.
        cross: (c, c), sums of their products; rows f(T_g x), columns T_g f(x).
        chance: (k, c), the same for pairs of different images, rows `chance_channels`.
    """

    def __init__(self, channels: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64):
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.count = 0
        self.origin, self.rest, self.square = zeros(2, channels), zeros(2, channels), zeros(2, channels)
        self.cross = zeros(channels, channels)
        self.chance = zeros(len(chance_channels(channels)), channels)

    def add(self, a: Tensor, b: "Tensor | Originals") -> None:
        """Add the maps of n >= 2 images, in the precision of the sums.

        Args:
            a: f(T_g x), (n, c, ...).
            b: T_g f(x), of the same shape; the i-th image of one belongs to the i-th of the other. `Originals`
                about the same origin save work where several transformations are compared with the same maps.
        """
        origin_a, origin_b = self.origin if self.count else (None, None)
        a, b = Centred(a, origin_a), b if isinstance(b, Originals) else Originals(b, origin_b)
        if not self.count:
            self.origin = torch.stack([a.origin, b.origin])
        count, channels = b.matrix.shape
        self.count += count
        self.rest += torch.stack([a.rest, b.rest])
        self.square += torch.stack([a.squares, b.squares])
        self.cross.addmm_(a.matrix.T, b.matrix)
        rows = a.matrix.T
        if channels > CHANCE_CHANNELS:
            rows = rows[chance_channels(channels, rows.device)]
        self.chance.addmm_(rows, b.exchanged)

    @classmethod
    def of(cls, a: Tensor, b: Tensor) -> Self:
        """The statistics of the maps of n >= 2 images, as for `add`."""
        statistics = cls(a.shape[1], a.device)
        statistics.update(a, b)
        return statistics

    def update(self, a: Tensor, b: Tensor) -> None:
        """Add a batch, as for `add`, in the precision of the maps."""
        batch = type(self)(a.shape[1], a.device, torch.promote_types(a.dtype, torch.float32))
        batch.add(a, b)
        self.merge(batch)

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
        for sums, more in ((self.cross, other.cross), (self.chance, other.chance)):
            rows = self._rows(sums, gap[0]), self._rows(sums, rest[0])
            sums.add_(more).addr_(rows[0], rest[1]).addr_(rows[1] + n * rows[0], gap[1])
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
        """Of one value a channel those of the rows of a matrix (c, c) or (k, c)."""
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


class PerImageStatistics(PairStatistics):
    """As `PairStatistics`, with one correlation per image over its positions, averaged over images.

    The maximum over c' is taken image by image. On small maps that is mostly chance (64 channels of 8x8 positions),
    which is why it is not the default; offered to compare. Maps of one position have no correlation of their own:
    for them the pooled one is taken. Images in which a channel is constant do not count for it.
    """

    def __init__(self, channels: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64):
        super().__init__(channels, device, dtype)
        # sums over images and channels of (invariance, equivariance), for true pairs and for chance; how many
        self.sums = torch.zeros(2, 2, dtype=torch.float64, device=device)
        self.counts = torch.zeros(2, 2, dtype=torch.float64, device=device)

    def add(self, a: Tensor, b: Tensor | Originals) -> None:
        super().add(a, b)
        if a[0, 0].numel() == 1:
            return
        b = b.maps if isinstance(b, Originals) else b
        other = b[partners(len(b), b.device)]
        for index in range(len(a)):  # one at a time: (c, c) per image
            for kind, against in enumerate((b, other)):
                r = _correlation(a[index], against[index])
                own, best = r.diagonal().relu(), r.relu().nan_to_num(-torch.inf).amax(1)
                for measure, values in enumerate((own[~own.isnan()], best[best >= 0])):
                    self.sums[kind, measure] += values.sum()
                    self.counts[kind, measure] += len(values)

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


@cache
def partners(images: int, device: torch.device | str = "cpu") -> Tensor:
    """For each image of a batch, another one: neighbours swap places; the last three of an odd number rotate."""
    if images < 2:
        raise ValueError("the chance level needs at least two images")
    order = torch.arange(images, device=device)
    order[: images // 2 * 2] ^= 1
    if images % 2:
        order[-3:] = torch.tensor([images - 2, images - 1, images - 3], device=device)
    return order


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
