"""The similarity of every channel with every other one, as sums over a stream of images.

For channels c, c' the pooled Pearson correlation of a = f(T_g x)_c and b = (T_g f(x))_c' runs over all images
and positions:

    r[c, c'] = S_ab / sqrt(S_aa S_bb),    S_ab = sum (a - mean a)(b - mean b)

Only the counts, the means and the sums S are kept, so memory does not grow with the number of images, and
two halves of a stream merge exactly into the whole (Chan, Golub & LeVeque 1983).
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

# A channel is dead when its deviation is within what float32 rounding makes of a constant map.
DEAD = 8 * torch.finfo(torch.float32).eps


class Originals:
    """The side T_g f(x) of a batch, ready to be multiplied: centred, beside itself with the images exchanged.

    Args:
        b: (n, c, ...), n >= 2.

    Attributes:
        origin: (c,), the mean of b up to rounding.
        matrix: (2 c + 1, positions): b, b with every image replaced by its partner, and ones.
        rest: (c,), the sums of the centred b, which only rounding keeps from zero.
        squares: (c,), the sums of its squares.
    """

    def __init__(self, b: Tensor):
        images, self.channels = b.shape[:2]
        self.b, self.count = b, b[:, 0].numel()
        self.dtype = torch.promote_types(b.dtype, torch.float32)
        self.channels_last = b.stride(1) == 1
        self.matrix = self._empty(2 * self.channels + 1, b)
        c = self.channels
        self.origin = self._centre(b, self.matrix[:c])
        order = partners(images, b.device)
        # positions are in the order of images, so whole stretches of them move
        stretches = self.matrix[:c].unflatten(1, (images, -1))
        self.matrix[c:-1].unflatten(1, (images, -1)).copy_(stretches[:, order])
        self.matrix[-1] = 1
        self.rest = self.matrix[:c].sum(1).double()
        self.squares = _squares(self.matrix[:c])

    def beside(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """The other side, (n, c, ...): its own mean (c,), and it centred, as (c, positions)."""
        centred = self._empty(self.channels, a)
        return self._centre(a, centred), centred

    def _empty(self, rows: int, like: Tensor) -> Tensor:
        """(rows, positions) in the order of memory in which the maps lie, so that copying streams."""
        if self.channels_last:
            return torch.empty(self.count, rows, dtype=self.dtype, device=like.device).T
        return torch.empty(rows, self.count, dtype=self.dtype, device=like.device)

    def _centre(self, x: Tensor, out: Tensor) -> Tensor:
        """Write x - mean to `out`, in the order of `out`, in a single pass; returns the mean."""
        origin = x.mean([d for d in range(x.ndim) if d != 1], dtype=self.dtype)
        aligned = origin.view(-1, *[1] * (x.ndim - 1))
        torch.sub(x.movedim(1, 0), aligned, out=out.unflatten(1, (len(x), *x.shape[2:])))
        return origin


def _squares(x: Tensor) -> Tensor:
    """Sums of squares of the rows of x, float64."""
    return torch.linalg.vecdot(x, x).double()


class PairStatistics:
    """Running second moments of the channels of two feature maps, of one layer under one transformation.

    Next to the pairs (f(T_g x_i), T_g f(x_i)) it keeps the cross products of pairs from different images,
    (f(T_g x_i), T_g f(x_j)): their similarity is the chance level. Each image is used once on each side, so
    that means and deviations are the same for both.

    Inputs are centred on the mean of their batch before they are multiplied, and batches are merged in
    float64: maps with mean 1000 and deviation 1 keep their digits in float32.
    """

    def __init__(self, channels: int, device: torch.device | str = "cpu"):
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.count = 0
        self.mean_a, self.mean_b = zeros(channels), zeros(channels)
        self.square_a, self.square_b = zeros(channels), zeros(channels)
        self.cross, self.chance_cross = zeros(channels, channels), zeros(channels, channels)

    @classmethod
    def of(cls, a: Tensor, b: "Tensor | Originals") -> Self:
        """The statistics of one batch of n >= 2 images.

        Args:
            a: f(T_g x), (n, c, ...).
            b: T_g f(x), of the same shape; the i-th image of one belongs to the i-th of the other. `Originals(b)`
                saves work where several transformations are compared with the same maps.
        """
        b = b if isinstance(b, Originals) else Originals(b)
        channels, count = b.channels, b.count
        origin_a, a = b.beside(a)
        # One product gives the sums over positions of a times b, of a times another image's b, and of a.
        products = (a @ b.matrix.T).double()
        rest_a, rest_b = products[:, -1], b.rest
        rest = torch.outer(rest_a, rest_b) / count
        batch = cls(channels, a.device)
        batch.count = count
        batch.mean_a = origin_a.double() + rest_a / count
        batch.mean_b = b.origin.double() + rest_b / count
        batch.square_a = _squares(a) - rest_a.square() / count
        batch.square_b = b.squares - rest_b.square() / count
        batch.cross = products[:, :channels] - rest
        batch.chance_cross = products[:, channels:-1] - rest
        return batch

    def update(self, a: Tensor, b: Tensor) -> None:
        """Add a batch, as for `of`."""
        self.merge(self.of(a, b))

    def state(self) -> dict[str, Any]:
        """All sums, on the CPU."""
        return {key: value.cpu() if isinstance(value, Tensor) else value for key, value in vars(self).items()}

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device | str = "cpu") -> Self:
        """The statistics that `state()` describes."""
        statistics = cls(len(state["mean_a"]), device)
        for key, value in state.items():
            setattr(statistics, key, value.to(device) if isinstance(value, Tensor) else value)
        return statistics

    def merge(self, other: Self) -> None:
        """Add the statistics of another part of the stream."""
        if other.count == 0:
            return
        total = self.count + other.count
        gap_a, gap_b = other.mean_a - self.mean_a, other.mean_b - self.mean_b
        weight = self.count * other.count / total
        self.square_a += other.square_a + weight * gap_a.square()
        self.square_b += other.square_b + weight * gap_b.square()
        between = weight * torch.outer(gap_a, gap_b)
        self.cross += other.cross + between
        self.chance_cross += other.chance_cross + between
        self.mean_a += gap_a * (other.count / total)
        self.mean_b += gap_b * (other.count / total)
        self.count = total

    def dead(self) -> Tensor:
        """Channels without variance on one of the two sides, bool (c,): their correlation is 0/0."""
        sides = ((self.mean_a, self.square_a), (self.mean_b, self.square_b))
        still = [square <= self.count * (DEAD * mean).square() for mean, square in sides]
        return still[0] | still[1]

    def activation(self) -> float:
        """Mean of f(x) over images, positions and channels."""
        return self.mean_b.mean().item()

    def correlation(self, chance: bool = False) -> Tensor:
        """Pearson's r (c, c), rows f(T_g x), columns T_g f(x), in [-1, 1]; NaN where either channel is dead."""
        cross = self.chance_cross if chance else self.cross
        return self._leave_out(cross / torch.outer(self.square_a, self.square_b).sqrt(), self.dead())

    def cosine(self, chance: bool = False) -> Tensor:
        """sum a b / sqrt(sum a^2 sum b^2), as `correlation` without centring; NaN where either channel is zero."""
        cross = (self.chance_cross if chance else self.cross) + self.count * torch.outer(self.mean_a, self.mean_b)
        norm_a, norm_b = (
            square + self.count * mean.square()
            for square, mean in ((self.square_a, self.mean_a), (self.square_b, self.mean_b))
        )
        return self._leave_out(cross / torch.outer(norm_a, norm_b).sqrt(), (norm_a == 0) | (norm_b == 0))

    @staticmethod
    def _leave_out(r: Tensor, dead: Tensor) -> Tensor:
        return r.clamp(-1, 1).masked_fill(dead[:, None] | dead, torch.nan)

    def similarities(self, similarity: str, chance: bool = False) -> Tensor:
        """(c, c): cosines if asked for, otherwise pooled correlations."""
        return self.cosine(chance) if similarity == "cosine" else self.correlation(chance)

    def scores(self, similarity: str) -> dict[str, tuple[float, float]]:
        """For each of `MEASURES` its value and chance level; similarity is "pearson" or "cosine"."""
        r, chance = (self.similarities(similarity, chance) for chance in (False, True))
        return {name: (score(r), score(chance)) for name, score in MEASURES.items()}


class PerImageStatistics(PairStatistics):
    """As `PairStatistics`, with one correlation per image over its positions, averaged over images.

    The maximum over c' is taken image by image. On small maps that is mostly chance (64 channels of 8x8 positions),
    which is why it is not the default; offered to compare. Maps of one position have no correlation of their own:
    for them the pooled one is taken. Images in which a channel is constant do not count for it.
    """

    def __init__(self, channels: int, device: torch.device | str = "cpu"):
        super().__init__(channels, device)
        # sums over images and channels of (invariance, equivariance), for true pairs and for chance; how many
        self.sums = torch.zeros(2, 2, dtype=torch.float64, device=device)
        self.counts = torch.zeros(2, 2, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, a: Tensor, b: Tensor | Originals) -> Self:
        batch = super().of(a, b)
        if a[0, 0].numel() == 1:
            return batch
        b = b.b if isinstance(b, Originals) else b
        other = b[partners(len(b), b.device)]
        for index in range(len(a)):  # one at a time: (c, c) per image
            for kind, against in enumerate((b, other)):
                r = _correlation(a[index], against[index])
                own, best = r.diagonal().relu(), r.relu().nan_to_num(-torch.inf).amax(1)
                for measure, values in enumerate((own[~own.isnan()], best[best >= 0])):
                    batch.sums[kind, measure] += values.sum()
                    batch.counts[kind, measure] += len(values)
        return batch

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
    whole = type(parts[0])(len(parts[0].mean_a), parts[0].mean_a.device)
    for part in parts:
        whole.merge(part)
    return whole


def partners(images: int, device: torch.device | str = "cpu") -> Tensor:
    """For each image of a batch, another one: neighbours swap places; the last three of an odd number rotate."""
    if images < 2:
        raise ValueError("the chance level needs at least two images")
    order = torch.arange(images, device=device)
    order[: images // 2 * 2] ^= 1
    if images % 2:
        order[-3:] = torch.tensor([images - 2, images - 1, images - 3], device=device)
    return order


def invariance(r: Tensor) -> float:
    """Mean over c of relu(r[c, c]) (paper, Eq. 4); in [0, 1], dead channels left out, NaN if all are."""
    return r.diagonal().relu().nanmean().item()


def equivariance(r: Tensor) -> float:
    """Mean over c of max over c' of relu(r[c, c']) (paper, Eq. 7); as `invariance`, and never smaller."""
    best = r.relu().nan_to_num(-torch.inf).amax(1)
    return best[best >= 0].mean().item()


MEASURES = {"invariance": invariance, "equivariance": equivariance}
