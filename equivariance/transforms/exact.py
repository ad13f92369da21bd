"""The transformations: how each acts on an image, and how it lines up two feature maps.

A transformation is a class with a `name`, an `element` (90 degrees, 3 pixels) and three methods: `check` (which
images it is defined on), `act` (T_g x on images) and `align`. A set G of them is a list. To add one, write such
a class here, and a file in conf/measure/ that names a function which returns the list.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from equivariance.errors import UserError


class Transformation(Protocol):
    """One element g of a finite set of transformations.

    One that is measured on changed images, such as discs of them, has an attribute `prepare` besides: a function
    of images (n, c, h, w) that the originals and, before `act`, the copies go through; see `preparation`.
    """

    @property
    def name(self) -> str: ...

    @property
    def element(self) -> float | str: ...

    def check(self, height: int, width: int) -> None:
        """Refuse images on which g is not defined.

        Raises:
            UserError: with what to change.
        """

    def act(self, images: Tensor) -> Tensor:
        """T_g x for images (n, c, h, w)."""

    def align(self, copy: Tensor, original: Tensor, stride: float | None) -> tuple[Tensor, Tensor] | None:
        """Bring f(T_g x) and f(x) to common positions, so that position by position they should agree.

        Correlation does not care about a joint reordering of positions, so T_g may be undone on the copy
        instead of applied to the original. Either way linearly, and each map for itself: what comes are sums and
        differences of the maps of two images, see `statistics.paired`.

        Args:
            copy: f(T_g x), (n, c, h, w), a map with more than one position.
            original: f(x), of the same shape.
            stride: pixels of the image per position of the map; None if it is not defined.

        Returns:
            Two maps of equal shape that hold the positions defined on both sides; None where there are none.
        """


def preparation(transforms: Sequence[Transformation]) -> Callable[[Tensor], Tensor]:
    """What all images go through before they are measured and transformed: nothing, for most transformations.

    Raises:
        UserError: the transformations do not agree on it.
    """
    found: set[Callable[[Tensor], Tensor] | None] = {getattr(g, "prepare", None) for g in transforms}
    if len(found) > 1:
        raise UserError("these transformations need different images (a disc of them, or all): measure them apart")
    return (found.pop() if found else None) or (lambda images: images)


@dataclass(frozen=True)
class Dihedral:
    """A symmetry of the square: a mirror image, left to right, if `mirrored`, then `turns` quarter turns.

    Turns are counter-clockwise; all are exact. Odd numbers of them need square images.
    """

    turns: int
    mirrored: bool = False
    name: ClassVar[str] = "dihedral"

    @property
    def element(self) -> int | str:
        """Degrees of a pure rotation; "mirror", "mirror90", ... with the mirror image."""
        return f"mirror{90 * self.turns or ''}" if self.mirrored else 90 * self.turns

    def check(self, height: int, width: int) -> None:
        if self.turns % 2 and height != width:
            raise UserError(
                f"quarter turns need square images, these are {height}x{width}: give a square dataset.size, "
                "or measure=translation"
            )

    def act(self, images: Tensor) -> Tensor:
        return (images.flip(-1) if self.mirrored else images).rot90(self.turns, (-2, -1))

    def align(self, copy: Tensor, original: Tensor, stride: float | None) -> tuple[Tensor, Tensor] | None:
        # gathering whole channel vectors is faster than flips and transpositions, as maps lie channels-last
        images, channels, height, width = copy.shape
        order = _upright(self, images, height, width, copy.device)
        rows = copy.movedim(1, -1).reshape(-1, channels).index_select(0, order)
        return rows.view(images, height, width, channels).movedim(-1, 1), original


@cache
def _upright(g: Dihedral, images: int, height: int, width: int, device: torch.device) -> Tensor:
    """Where each position of these maps, row by row, lies on the maps of the transformed images: g undone."""
    positions = torch.arange(images * height * width, dtype=torch.int32, device=device)
    positions = positions.view(images, height, width).rot90(-g.turns, (1, 2))
    return (positions.flip(2) if g.mirrored else positions).flatten()


@dataclass(frozen=True)
class QuarterTurn(Dihedral):
    """Rotation by 90, 180 or 270 degrees, counter-clockwise; exact on square images."""

    name: ClassVar[str] = "rotation"


DIRECTIONS = {"diagonal": (1, 1), "vertical": (1, 0), "horizontal": (0, 1)}
BORDERS = ("overlap", "full", "circular")
ROUNDINGS = ("floor", "round", "exact")


@dataclass(frozen=True)
class Shift:
    """Shift by `element` pixels: down, to the right, or both.

    A map of stride k shifts by element / k positions, rounded (the thesis, Sec. 4.2, takes the floor).

    Args:
        element: pixels, from 1 on.
        direction: diagonal (down and to the right by as many pixels), vertical or horizontal.
        border: what enters the image, and what is compared. `overlap`: zeros enter, and only positions that hold
            a shifted value are compared, as otherwise the fill would be measured, not the network; `full`: zeros
            enter both image and map, and all positions are compared; `circular`: what leaves enters again.
        rounding: floor or round to whole positions; `exact` leaves shifts out that are no multiple of the stride.
    """

    element: int
    direction: str = "diagonal"
    border: str = "overlap"
    rounding: str = "floor"
    name: ClassVar[str] = "translation"

    @property
    def pixels(self) -> int:
        return self.element

    def __post_init__(self):
        if not isinstance(self.pixels, int) or self.pixels < 1:
            raise UserError(f"measure.transform.elements: a shift of {self.pixels}; needs whole pixels from 1 on")
        for key, known in (("direction", DIRECTIONS), ("border", BORDERS), ("rounding", ROUNDINGS)):
            if getattr(self, key) not in known:
                raise UserError(f"measure.transform.{key}={getattr(self, key)}: choose {', '.join(known)}")

    def check(self, height: int, width: int) -> None:
        down, right = self._steps(self.pixels)
        if down >= height or right >= width:
            raise UserError(
                f"a shift by {self.pixels} pixels leaves nothing of images of {height}x{width}: "
                "give smaller measure.transform.elements"
            )

    def act(self, images: Tensor) -> Tensor:
        return self._moved(images, self.pixels)

    def align(self, copy: Tensor, original: Tensor, stride: float | None) -> tuple[Tensor, Tensor] | None:
        if stride is None or (self.rounding == "exact" and self.pixels % stride):
            return None
        positions = int(self.pixels / stride + (0.5 if self.rounding == "round" else 0))
        down, right = self._steps(positions)
        height, width = original.shape[-2:]
        if down >= height or right >= width:
            return None
        if self.border == "overlap":
            return copy[..., down:, right:], original[..., : height - down, : width - right]
        return copy, self._moved(original, positions)

    def _steps(self, distance: int) -> tuple[int, int]:
        down, right = DIRECTIONS[self.direction]
        return down * distance, right * distance

    def _moved(self, x: Tensor, distance: int) -> Tensor:
        down, right = self._steps(distance)
        if self.border == "circular":
            return x.roll((down, right), (-2, -1))
        height, width = x.shape[-2:]
        moved = x.new_zeros(x.shape)
        moved[..., down:, right:] = x[..., : height - down, : width - right]
        return moved


@dataclass(frozen=True)
class RelativeShift(Shift):
    """Shift by a share of the image's side: 32 pixels of 224 are as much as 86 of 600.

    Args:
        element: the share, as text: 1/7.
        side: pixels of the image's shorter side.
    """

    element: str  # type: ignore[assignment]  # a share where `Shift` has pixels
    side: int = 0
    name: ClassVar[str] = "relative translation"

    @property
    def pixels(self) -> int:
        return round(self.side * Fraction(self.element))


def quarter_turns(elements: Sequence[int]) -> list[Transformation]:
    """Rotations by these degrees, out of 90, 180 and 270."""
    for degrees in elements:
        if degrees not in (90, 180, 270):
            raise UserError(f"measure.transform.elements: {degrees} degrees; choose from 90, 180 and 270")
    return [QuarterTurn(degrees // 90) for degrees in elements]


def dihedral(elements: Sequence[int | str]) -> list[Transformation]:
    """Symmetries of the square by name: 90, 180, 270, mirror, mirror90, mirror180, mirror270."""
    group = {g.element: g for g in (Dihedral(turns, mirrored) for mirrored in (False, True) for turns in range(4))}
    del group[0]  # the identity
    for element in elements:
        if element not in group:
            raise UserError(
                f"measure.transform.elements: {element} is no symmetry of the square; "
                f"choose from {', '.join(map(str, group))}"
            )
    return [group[element] for element in elements]


def shifts(
    elements: Sequence[int], direction: str = "diagonal", border: str = "overlap", rounding: str = "floor"
) -> list[Transformation]:
    """Shifts by these numbers of pixels."""
    return [Shift(pixels, direction, border, rounding) for pixels in elements]


def relative_shifts(
    elements: Sequence[str], size: int | Sequence[int] | None, direction: str, border: str, rounding: str
) -> list[Transformation]:
    """Shifts by these shares of the shorter side of images of `size`, in whole pixels."""
    if size is None:
        raise UserError("measure=relative_translation needs images of a dataset.size: image_folder or imagenet")
    side = size if isinstance(size, int) else min(size)
    return [RelativeShift(str(share), direction, border, rounding, side) for share in elements]


def rotations(elements: Sequence[float] = (90, 180, 270)) -> list[Transformation]:
    """Rotations by these degrees, counter-clockwise: exact quarter turns, or any angles, interpolated on a disc.

    See `continuous.turns`.
    """
    from equivariance.transforms import interpolated as continuous  # which builds on this module

    return continuous.turns(elements)


def mirrors() -> list[Transformation]:
    """The mirror image, left to right."""
    return dihedral(["mirror"])
