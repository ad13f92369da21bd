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


class PairStatistics:
    """What both readings share. One layer under one transformation.

    Attributes:
        images: how many have been added.
        cross: (c, c), sums of products; rows f(T_g x), columns T_g f(x).
        chance: (k, c), the same for pairs of different images, rows `chance_channels`.
        total: (2, c), sums over images of the mean of f(T_g x)_c and of (T_g f(x))_c.
    """

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

    def copy(self) -> Self:
        """The same sums once more."""
        return self.from_state(self.state(), self.cross.device)

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

    def update(self, a: Tensor, b: Tensor) -> None:
        """Add the maps f(T_g x) and T_g f(x) of n >= 2 images in their order, each (n, c, ...)."""
        n = len(a)
        cuts = [slice(0, n)] if n % 2 == 0 else [slice(0, n - 3), slice(n - 3, n)]
        sums = self.start(b, self.similarity)
        for cut in cuts:
            if cut.stop > cut.start:
                sums.add(sums.side(a[cut], False), sums.side(b[cut], True))
        self.merge(sums)

    def merge(self, other: Self, sign: int = 1) -> None:
        """Add the sums of another part of the stream; with sign -1, take them away."""
        raise NotImplementedError

    def without(self, part: Self) -> Self:
        """The statistics of all images but those of a part of the stream."""
        others = self.copy()
        others.merge(part, -1)
        return others

    def state(self) -> dict[str, Any]:
        """All sums, copied."""
        return {key: value.clone() if isinstance(value, Tensor) else value for key, value in vars(self).items()}

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device | str = "cpu") -> Self:
        """The statistics that `state()` describes."""
        statistics = cls(0, device)
        for key, value in state.items():
            setattr(statistics, key, value.to(device) if isinstance(value, Tensor) else value)
        return statistics

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
        return values if channels <= CHANCE_CHANNELS else values[..., chance_channels(channels, values.device)]


class ImageStatistics(PairStatistics):
    """Similarity over the positions of each image, averaged over the images.

    The maps of each image are standardised, so that one matrix product over all positions is the sum of all images'
    correlations. A channel that is constant within an image has none there: its pairs leave that image out.

    Attributes:
        missing, chance_missing: (c, c) and (k, c), how many images each pair has left out; None: no pair any.
        live_images: (c,), images within which f(T_g x)_c has variance.
    """

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.missing: Tensor | None = None
        self.chance_missing: Tensor | None = None
        self.live_images = torch.zeros_like(self.total[0])

    def side(self, maps: Tensor, original: bool, owned: bool = False) -> Side:
        x = positions_by_channels(maps)
        positions, mean = x.shape[1], x.mean(1)
        values = subtracted(x, mean[:, None] if self.similarity == "pearson" else None, maps, owned)
        norm = (values * values).sum(1).sqrt_()  # vector_norm is ten times slower along this axis
        smallest = DEAD * mean.abs() * positions**0.5 if self.similarity == "pearson" else 0.0
        live = norm > smallest
        scale = norm.reciprocal().mul_(live).nan_to_num_(0.0, 0.0)
        # asking a GPU whether all are live would wait for it
        all_live = live.device.type == "cpu" and bool(live.all())
        total = mean.sum(0) + 0 * norm.sum(0)  # NaN where squares are too large for float32
        return Side(values.mul_(scale[:, None]), total, live=None if all_live else live.to(torch.float32))

    def add(self, a: Side, b: Side) -> None:
        super().add(a, b)
        n = len(a.values)
        self.live_images += n if a.live is None else a.live.sum(0)
        if a.live is None and b.live is None:
            return
        ones = torch.ones(n, a.values.shape[2], device=a.values.device)
        live_a, live_b = (ones if side.live is None else side.live for side in (a, b))
        self.missing = _plus(self.missing, n - live_a.mT @ live_b)
        rows = self._chance_rows(live_a)
        for _, live, weight in b.mismatched:
            both = rows.mT @ (ones if live is None else live)
            self.chance_missing = _plus(self.chance_missing, weight * (n - both))

    def merge(self, other: Self, sign: int = 1) -> None:
        self.similarity = other.similarity
        self.images += sign * other.images
        for name in ("cross", "chance", "total", "live_images"):
            getattr(self, name).add_(getattr(other, name), alpha=sign)
        for name in ("missing", "chance_missing"):
            if getattr(other, name) is not None:
                setattr(self, name, _plus(getattr(self, name), sign * getattr(other, name)))

    def similarities(self, chance: bool = False) -> Tensor:
        counts = self._counts(chance)
        r = ((self.chance if chance else self.cross) / counts).clamp_(-1, 1)
        return r if isinstance(counts, float) else r.masked_fill_(counts == 0, torch.nan)

    def held_out(self, partners: Tensor, whole: Self) -> tuple[Tensor, Tensor]:
        counts = torch.as_tensor(self._counts(), device=partners.device).to(self.cross)
        return _at(self.cross, partners), _at(counts.expand_as(self.cross), partners)

    def centred(self, whole: Self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        return self.cross, self.chance, self.live_images, None

    def dead(self) -> Tensor:
        return self.similarities().diagonal().isnan()

    def live_share(self) -> float:
        if self.missing is None:
            return 1.0 if self.images else 0.0
        return 1 - (self.missing.diagonal() / self.images).mean().item()

    def _counts(self, chance: bool = False) -> Tensor | float:
        """Images of each pair of channels."""
        missing = self.chance_missing if chance else self.missing
        if missing is None:
            return float(self.images) if self.images else torch.nan
        return (self.images - missing).to(self.cross)


class ReluImageStatistics(ImageStatistics):
    """As `ImageStatistics`, with relu of every image's correlation before the average, not after it."""

    def _add_products(self, sums: Tensor, a: Tensor, b: Tensor, weight: float = 1.0) -> None:
        for x, y in zip(a.split(_images_at_a_time(a)), b.split(_images_at_a_time(a)), strict=True):
            sums.add_((x.mT @ y).relu_().sum(0), alpha=weight)


class MaximumImageStatistics(ImageStatistics):
    """As `ImageStatistics`, with the maximum over c' taken within each image, before the average.

    On small maps that maximum is mostly chance (64 channels of 8x8 positions). Offered to compare.

    Attributes:
        sums, counts: (2, 2), over images and live channels of relu(r_i[c, c]) and of max over c' of
            relu(r_i[c, c']); rows: true pairs, pairs of different images.
    """

    def __init__(self, channels: int, device: torch.device | str = "cpu", *arguments: Any, **named: Any):
        super().__init__(channels, device, *arguments, **named)
        self.sums, self.counts = torch.zeros(2, 2, 2, dtype=torch.float64, device=device)

    def add(self, a: Side, b: Side) -> None:
        super().add(a, b)
        self._add_each(0, a.values, a.live, b.values, b.live, 1.0)
        for values, live, weight in b.mismatched:
            self._add_each(1, a.values, a.live, values, live, weight)

    def _add_each(
        self, kind: int, a: Tensor, live_a: Tensor | None, b: Tensor, live_b: Tensor | None, weight: float
    ) -> None:
        for i in range(len(a)):  # one at a time: (c, c) an image
            r = (a[i].mT @ b[i]).clamp_(-1, 1)
            for live, axis in ((live_a, 1), (live_b, 0)):
                if live is not None:
                    r.masked_fill_(live[i].unsqueeze(axis) == 0, torch.nan)
            own, best = r.diagonal().relu(), r.relu().nan_to_num(-torch.inf).amax(1)
            for place, values in enumerate((own[~own.isnan()], best[best >= 0])):
                self.sums[kind, place] += weight * values.sum()
                self.counts[kind, place] += weight * len(values)

    def merge(self, other: Self, sign: int = 1) -> None:
        super().merge(other, sign)
        self.sums += sign * other.sums
        self.counts += sign * other.counts

    def scores(self) -> dict[str, tuple[float, float]]:
        mean = (self.sums / self.counts).tolist()
        return {name: (mean[0][place], mean[1][place]) for place, name in enumerate(FORMULAS)}

    def values(self, r: Tensor) -> dict[str, float]:
        return {name: value for name, (value, _) in self.scores().items()}


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
        sums = self.count * (_at(self._covariances(), partners) + gap[0] * gap[1][partners])
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


READINGS: dict[str, type[PairStatistics]] = {  # by names.OVER
    "image": ImageStatistics,
    "image_relu": ReluImageStatistics,
    "image_max": MaximumImageStatistics,
    "dataset": DatasetStatistics,
}


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
    alive = ~(r.diagonal() if own is None else r.gather(1, own.to(r.device)[:, None])[:, 0]).isnan()
    best = r.relu().nan_to_num(-torch.inf).amax(1)[alive]
    return best.mean().item()


FORMULAS = {"invariance": invariance, "equivariance": equivariance}


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
    if isinstance(whole, MaximumImageStatistics):  # chooses anew in each image, not over all of them
        return found
    sums, counts = (torch.stack(each).sum(0) for each in zip(*held_out, strict=True))
    mean = (sums / counts)[~whole.dead()]
    return found | {"equivariance": mean.clamp(-1, 1).nanmean().relu().item()}


def _plus(sums: Tensor | None, more: Tensor) -> Tensor:
    return more.to(torch.float32) if sums is None else sums.add_(more)


def _at(matrix: Tensor, columns: Tensor) -> Tensor:
    """matrix[c, columns[c]] for each row c."""
    return matrix.gather(1, columns[:, None])[:, 0]


def _images_at_a_time(values: Tensor) -> int:
    """Of which (c, c) matrices stay within some 64 MiB."""
    return max(1, 2**24 // values.shape[2] ** 2)
