"""Rotations by any angle, scalings and sub-pixel shifts, so that the network is measured and not the interpolation.

Both sides of the comparison f(T_g x), T_g f(x) are interpolated once: images by Lanczos-3, feature maps bilinearly.
Only positions are compared that need nothing from beyond the map. What interpolation alone does to a score is
measured by the `Control` of each transformation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from equivariance.errors import UserError
from equivariance.transforms.protocol import Derived

LOBES = 3  # of the Lanczos kernel
EDGE = 2.0  # pixels over which the disc fades
NEGLIGIBLE = 1e-7  # a weight that asks for no value
BORDERS = ("disc", "zero", "reflect")
ROWS = 2**14  # pixels of an image that are interpolated at a time


@dataclass(frozen=True)
class Warp:
    """A linear map of the plane about the centre of the image, and a shift.

    The pixel p of T_g x comes from M (p - centre) + centre - t of x; p = (row, column), centre = (side - 1) / 2.
    A feature map is transformed about its own centre, its position p being the middle of a cell of k x k pixels,
    where k is its stride. So quarter turns are exactly those of `QuarterTurn`.

    Images are interpolated by separable Lanczos-3, its taps normalised to sum 1 and stretched where the image
    shrinks (bilinear interpolation would take its own blur for the network's failure: half a pixel on the late
    layers of a ResNet-44 has 0.84 with it and 0.93 with Lanczos-3). Maps are interpolated bilinearly, f(x) in
    place of f(T_g x), except for a magnification, which is undone on f(T_g x): interpolated is the finer map.

    Args:
        name, element: of the transformation.
        matrix: M by rows: (from rows to rows, from columns to rows, from rows to columns, from columns to columns).
        shift: t in pixels, down and to the right.
        border: what lies beyond the image. `disc`: nothing, as all images are first multiplied by a disc, so that
            each angle sees the same content; `zero`: the mean colour; `reflect`: the image, mirrored.
        circle: compare positions within the inscribed circle only, which are the same for all angles.
    """

    name: str
    element: float
    matrix: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    border: str = "reflect"
    circle: bool = False

    @property
    def prepare(self) -> Callable[[Tensor], Tensor] | None:
        """What all images, the originals too, go through before `act`: `disc`, or None for nothing."""
        return disc if self.border == "disc" else None

    @property
    def inverse(self) -> "Warp":
        """The transformation that undoes this one; its shift is meant before its matrix is applied."""
        a, b, c, d = self.matrix
        area = a * d - b * c
        a, b, c, d = d / area, -b / area, -c / area, a / area
        down, right = self.shift
        shift = (-a * down - b * right, -c * down - d * right)
        return Warp(self.name, self.element, (a, b, c, d), shift, self.border, self.circle)

    @property
    def control(self) -> "Control":
        """What to measure beside this transformation, to see what interpolation does."""
        return Control(self)

    def check(self, height: int, width: int) -> None:
        if self._compared(height, width, 1, torch.device("cpu"), torch.float64) is None:
            raise UserError(
                f"elements: {self.name} by {self.element} leaves nothing to compare of images of {height}x{width}; "
                "give smaller ones"
            )

    def act(self, images: Tensor) -> Tensor:
        """T_g x for images (n, c, h, w), which have been through `prepare`."""
        exact = images.to(torch.promote_types(images.dtype, torch.float32))
        mixes_axes = any(self.matrix[1:3])
        return (self._gathered(exact) if mixes_axes else self._separable(exact)).to(images.dtype)

    def align(self, copy: Tensor, original: Tensor, stride: float | None) -> tuple[Tensor, Tensor] | None:
        """Both maps at the valid positions, (n, c, positions, 1); see `Transformation.align`."""
        where = (*copy.shape[-2:], stride, copy.device, copy.dtype)
        if (found := self._compared(*where)) is None:
            return None
        positions, index, weight = found
        interpolated, picked = (copy, original) if self._magnifies else (original, copy)
        sides = _sampled(interpolated, index, weight), _picked(picked, positions)
        return sides if self._magnifies else sides[::-1]

    @property
    def _magnifies(self) -> bool:
        return self._stretch < 1

    @property
    def _stretch(self) -> float:
        """Pixels of the image per pixel of T_g x: above 1 where the image shrinks."""
        a, b, c, d = self.matrix
        return round(math.sqrt(abs(a * d - b * c)), 9)

    def _compared(
        self, height: int, width: int, stride: float | None, device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """The valid positions (p,), and for each of them the taps of the finer map and their weights, (p, 4).

        None where there are no valid positions, or a map without a stride would have to be shifted.
        """
        if stride is None and any(self.shift):
            return None
        warp = self.inverse if self._magnifies else self
        positions, index, weight = _bilinear(warp, height, width, stride, device, dtype)
        return (positions, index[positions], weight[positions]) if len(positions) else None

    def _sources(self, height: int, width: int, stride: float | None) -> Tensor:
        """The row and column (h * w, 2) that each position of the transformed map comes from."""
        positions = torch.cartesian_prod(torch.arange(height).double(), torch.arange(width).double())
        centre = torch.tensor([height - 1, width - 1]) / 2
        matrix, shift = (torch.tensor(x, dtype=torch.float64) for x in (self.matrix, self.shift))
        sources = (positions - centre) @ matrix.view(2, 2).T + centre - shift / (stride or 1)
        return sources.round(decimals=9)  # a quarter turn meets positions exactly

    def _gathered(self, images: Tensor) -> Tensor:
        count, channels, height, width = images.shape
        pixels = images.permute(2, 3, 0, 1).reshape(-1, count * channels)
        parts = []
        for sources in self._sources(height, width, 1).to(images.device).split(ROWS):
            rows, down = self._lanczos(sources[:, 0], height, self._stretch)
            columns, right = self._lanczos(sources[:, 1], width, self._stretch)
            index = (rows[:, :, None] * width + columns[:, None]).flatten(1)
            weight = (down[:, :, None] * right[:, None]).flatten(1).to(images.dtype)
            parts.append(F.embedding_bag(index, pixels, per_sample_weights=weight, mode="sum"))
        return torch.cat(parts).view(height, width, count, channels).permute(2, 3, 0, 1).contiguous()

    def _separable(self, images: Tensor) -> Tensor:
        profiles = []
        for side, scale, shift in zip(images.shape[-2:], self.matrix[::3], self.shift, strict=True):
            at = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
            at = (scale * at + (side - 1) / 2 - shift).round(decimals=9)
            index, weight = self._lanczos(at, side, abs(scale))
            profile = torch.zeros(side, side, dtype=torch.float64).scatter_add_(1, index, weight)
            profiles.append(profile.to(images))
        rows, columns = profiles
        return rows @ images @ columns.T

    def _lanczos(self, at: Tensor, side: int, stretch: float) -> tuple[Tensor, Tensor]:
        """The pixels and weights (p, taps) of sinc(d) sinc(d / 3), |d| < 3, about coordinates (p,) of one axis."""
        stretch = max(stretch, 1.0)
        reach = math.ceil(LOBES * stretch)
        index = at.floor()[:, None] + torch.arange(1 - reach, reach + 1, device=at.device)
        distance = (at[:, None] - index) / stretch
        weight = (distance.sinc() * (distance / LOBES).sinc()).masked_fill(distance.abs() >= LOBES, 0)
        weight = weight / weight.sum(1, keepdim=True)
        if self.border == "reflect":
            period = max(2 * (side - 1), 1)
            index = index.remainder(period)
            index = torch.minimum(index, period - index)
        else:
            weight = weight.masked_fill((index < 0) | (index >= side), 0)
        return index.clamp(0, side - 1).long(), weight


@dataclass(frozen=True)
class Control(Derived):
    """The identity control of a `Warp`: the same layer under T_g^-1 T_g, images and maps warped there and back.

    Without interpolation every network would have 1, so that a low value says that interpolation takes part in the
    score of the `Warp` in the same row. It compares the same positions. It is pessimistic, as everything is warped
    twice, it does not see aliasing, and it is no bound: never divide by it. Where a map that is warped back needs
    a value from beyond its border, it takes that of the border.

    It is a transformation like any other: measure it with the same images, and put its scores beside those of
    the warp of the same element.
    """

    moved: Warp

    @property
    def name(self) -> str:
        return f"{self.moved.name} control"

    def act(self, images: Tensor) -> Tensor:
        """T_g^-1 T_g x for images (n, c, h, w), which have been through `prepare`."""
        return self.moved.inverse.act(self.moved.act(images))

    def align(self, copy: Tensor, original: Tensor, stride: float | None) -> tuple[Tensor, Tensor] | None:
        """f(T_g^-1 T_g x) and T_g^-1 T_g f(x) at the positions that the warp compares, (n, c, positions, 1)."""
        where = (*copy.shape[-2:], stride, copy.device, copy.dtype)
        if (found := self.moved._compared(*where)) is None:
            return None
        positions = found[0]
        _, index, weight = _bilinear(self.moved, *where)
        there = _sampled(original, index, weight).reshape(original.shape)
        _, index, weight = _bilinear(self.moved.inverse, *where)
        return _picked(copy, positions), _sampled(there, index[positions], weight[positions])


def rotation(degrees: float, border: str = "disc") -> Warp:
    """A rotation by any angle, counter-clockwise; 0 and quarter turns are treated like all others.

    Raises:
        UserError: the border is not known.
    """
    if border not in BORDERS:
        raise UserError(f"border={border}: choose {', '.join(BORDERS)}")
    radians = math.radians(degrees)
    cosine, sine = round(math.cos(radians), 15), round(math.sin(radians), 15)  # exactly 0 or 1 at quarter turns
    return Warp("continuous rotation", degrees, (cosine, sine, -sine, cosine), border=border, circle=True)


def disc(images: Tensor) -> Tensor:
    """Images (n, c, h, w) multiplied by a disc of half the shorter side, which fades over its last 2 pixels."""
    height, width = images.shape[-2:]
    rows, columns = (torch.arange(side, device=images.device) - (side - 1) / 2 for side in (height, width))
    distance = torch.hypot(rows[:, None], columns)
    return images * ((min(height, width) / 2 - distance) / EDGE).clamp(0, 1).to(images.dtype)


@lru_cache(maxsize=1024)
def _bilinear(
    warp: Warp, height: int, width: int, stride: float | None, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """How to warp maps (n, c, h, w).

    Returns:
        The valid positions (p,), counted row by row: every tap that counts lies inside the map, and with
        `warp.circle` the position within the inscribed circle. For all positions the taps (h * w, 4), those from
        beyond the map at its border, and their weights.
    """
    at = warp._sources(height, width, stride)
    size, corners = torch.tensor([height, width]), torch.cartesian_prod(torch.arange(2), torch.arange(2))
    low = at.floor()
    right = (at - low)[:, None]
    weight = torch.where(corners.bool(), right, 1 - right).prod(2)  # (h * w, 4)
    counts = weight > NEGLIGIBLE
    weight = weight * counts / (weight * counts).sum(1, keepdim=True)
    index = low.long()[:, None] + corners
    inside = ((index >= 0) & (index < size)).all(2)
    valid = (inside | ~counts).all(1)
    if warp.circle:
        rows, columns = (torch.arange(side) - (side - 1) / 2 for side in (height, width))
        valid &= (torch.hypot(rows[:, None], columns) <= (min(height, width) - 1) / 2 + NEGLIGIBLE).flatten()
    rows, columns = index.clamp(torch.zeros_like(size), size - 1).unbind(2)
    index = (rows * width + columns).int()
    return valid.nonzero()[:, 0].to(device), index.to(device), weight.to(device, dtype)


def _sampled(maps: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of the values of maps (n, c, h, w) at positions `index` (p, taps), as (n, c, p, 1)."""
    count, channels, height, width = maps.shape
    rows = maps.movedim(1, -1).reshape(-1, channels)  # whole channel vectors, as maps lie channels-last
    starts = torch.arange(count, dtype=torch.int32, device=maps.device) * (height * width)
    index = (starts[:, None, None] + index).flatten(0, 1)
    sampled = F.embedding_bag(index, rows, per_sample_weights=weight.repeat(count, 1), mode="sum")
    return sampled.view(count, -1, channels).movedim(-1, 1)[..., None]


def _picked(maps: Tensor, positions: Tensor) -> Tensor:
    """The values of maps (n, c, h, w) at positions (p,), as (n, c, p, 1)."""
    return maps.movedim(1, -1).flatten(1, 2).index_select(1, positions).movedim(-1, 1)[..., None]
