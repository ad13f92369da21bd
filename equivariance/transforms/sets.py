"""Sets of transformations, from their elements: angles, pixels, factors. To add one, write such a function.

It returns a list of objects with the methods of `Transformation`; a file in conf/measure/ names the function.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from equivariance.errors import UserError
from equivariance.transforms.exact import DIRECTIONS, Dihedral, QuarterTurn, Shift
from equivariance.transforms.interpolated import Warp, rotation
from equivariance.transforms.protocol import Derived, Transformation


@dataclass(frozen=True)
class Unaligned(Derived):
    """A transformation of images alone: f(T_g x) is compared with f(x), position by position.

    That is Eq. 4 of the paper as it is written. The other scores are taken of the same two maps.

    Args:
        moved: acts on the images.
        still: the identity, which takes the positions that are compared from both maps.
    """

    still: Transformation

    @property
    def name(self) -> str:
        return f"unaligned {self.moved.name}"

    def align(self, copy: Tensor, original: Tensor, stride: float | None) -> tuple[Tensor, Tensor] | None:
        return self.still.align(copy, original, stride)


def rotations(
    elements: float | Sequence[float] = (90, 180, 270), border: str = "disc", aligned: bool = True
) -> list[Transformation]:
    """Rotations by these angles: exact where all are quarter turns, else all interpolated on a disc of each image.

    Args:
        elements: degrees, counter-clockwise, between -360 and 360.
        border: of interpolated ones, what the corners of images hold: disc, zero or reflect, see `Warp`.
        aligned: turn the map of x before it is compared; False: compare f(T_g x) with f(x), see `Unaligned`.

    Raises:
        UserError: an element is no such angle, 0, or there twice; or the border is not known.
    """
    angles = _numbers(elements, "degrees")
    for angle in angles:
        if abs(angle) >= 360 and angle % 360:
            raise UserError(f"elements: {angle} degrees; did you mean {angle % 360}?")
    distinct([angle % 360 for angle in angles], "degrees", identity=0)
    still: Transformation = rotation(0, border)
    found: list[Transformation] = [rotation(angle, border) for angle in angles]
    if not any(angle % 90 for angle in angles):
        found, still = [QuarterTurn(int(angle) // 90) for angle in angles], Dihedral(0)
    return found if aligned else [Unaligned(g, still) for g in found]


def dihedral(elements: int | str | Sequence[int | str]) -> list[Transformation]:
    """Symmetries of the square by name: 90, 180, 270, mirror, mirror90, mirror180, mirror270."""
    group = {g.element: g for g in (Dihedral(turns, mirrored) for mirrored in (False, True) for turns in range(4))}
    del group[0]  # the identity
    found, known = listed(elements), ", ".join(map(str, group))
    for element in found:
        if element not in group:
            raise UserError(f"elements: {element} is no symmetry of the square; choose from {known}")
    return [group[element] for element in distinct(found, "")]


def mirrors() -> list[Transformation]:
    """The mirror image, left to right."""
    return dihedral("mirror")


def shifts(
    elements: int | Sequence[int],
    direction: str = "diagonal",
    border: str = "overlap",
    rounding: str = "floor",
    aligned: bool = True,
) -> list[Transformation]:
    """Shifts by these numbers of pixels, see `Shift`.

    Args:
        elements: whole pixels, from 1 on.
        aligned: shift the map of x before it is compared; False: compare f(T_g x) with f(x) at all positions, see
            `Unaligned`.

    Raises:
        UserError: an argument is not as said, or an element is there twice.
    """
    pixels = distinct(_numbers(elements, "pixels"), "pixels")
    found: list[Transformation] = [Shift(each, direction, border, rounding) for each in pixels]
    return found if aligned else [Unaligned(g, Dihedral(0)) for g in found]


def scalings(elements: float | Sequence[float]) -> list[Transformation]:
    """Magnifications by these factors about the centre: 1.25 enlarges, 0.8 shrinks; the border is reflected.

    Raises:
        UserError: a factor is not positive, 1, or there twice.
    """
    factors = distinct(_numbers(elements, "factors"), "times", identity=1)
    for factor in factors:
        if factor <= 0:
            raise UserError(f"elements: a scaling by {factor}; needs factors above 0")
    return [Warp("scaling", factor, (1 / factor, 0.0, 0.0, 1 / factor)) for factor in factors]


def subpixel_shifts(elements: float | Sequence[float], direction: str = "diagonal") -> list[Transformation]:
    """Shifts by these numbers of pixels, fractions too; the border is reflected.

    A map of stride k shifts by pixels / k positions, interpolated, where `shifts` takes whole ones.

    Args:
        elements: pixels down and to the right, up and to the left where negative.
        direction: diagonal (down and to the right by as many pixels), vertical or horizontal.

    Raises:
        UserError: an element is no number, 0, or there twice; or the direction is not known.
    """
    if direction not in DIRECTIONS:
        raise UserError(f"direction={direction}: choose {', '.join(DIRECTIONS)}")
    down, right = DIRECTIONS[direction]
    distances = distinct(_numbers(elements, "pixels"), "pixels", identity=0)
    return [Warp("sub-pixel shift", each, shift=(down * each, right * each)) for each in distances]


def listed(elements: Any) -> list[Any]:
    """One element or several as a list of Python's own values."""
    if isinstance(elements, np.ndarray | np.generic | Tensor):
        elements = elements.tolist()
    if isinstance(elements, str) or not isinstance(elements, Iterable):
        elements = [elements]
    return [each.item() if isinstance(each, np.generic | Tensor) else each for each in elements]


def _numbers(elements: Any, unit: str) -> list[float]:
    """The elements, whole ones as int."""
    found = listed(elements)
    for x in found:
        if isinstance(x, bool) or not isinstance(x, int | float) or not abs(x) < 1e9:
            raise UserError(f"elements: {x}; needs numbers ({unit})")
    return [int(x) if x == int(x) else x for x in found]


def distinct(elements: list[Any], unit: str, identity: float | None = None) -> list[Any]:
    """The elements, where none is the identity and none is there twice."""
    for each in elements:
        if each == identity:
            raise UserError(f"elements: {each} {unit} is the identity, for which every score is 1; leave it out")
        if elements.count(each) > 1:
            raise UserError(f"elements: {each} {unit}".rstrip() + " is there twice")
    return elements
