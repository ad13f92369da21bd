"""Shifts by a share of the images' side, for networks that take images of other sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from equivariance.errors import UserError
from equivariance.transforms.exact import Shift
from equivariance.transforms.protocol import Derived, Transformation
from equivariance.transforms.sets import distinct, listed


@dataclass(frozen=True)
class RelativeShift(Derived):
    """Shift by a share of the image's side: 32 pixels of 224 are as much as 86 of 600.

    Args:
        moved: the same shift in whole pixels.
        share: of the image's shorter side, as text: 1/7.
    """

    share: str

    @property
    def name(self) -> str:
        return self.moved.name.replace("translation", "relative translation")

    @property
    def element(self) -> str:
        return self.share


def relative_shifts(
    elements: str | Sequence[str],
    size: int | Sequence[int] | None,
    direction: str = "diagonal",
    border: str = "overlap",
    rounding: str = "floor",
) -> list[Transformation]:
    """Shifts by these shares, such as 1/7, of the shorter side of images of `size`, in whole pixels."""
    if size is None:
        raise UserError("size: not known; give the pixels of the images' side")
    side = size if isinstance(size, int) else min(size)
    found: list[Transformation] = []
    for share in distinct([str(share) for share in listed(elements)], "of the side"):
        try:
            pixels = round(side * Fraction(share))
        except (ValueError, ZeroDivisionError) as error:
            raise UserError(f"elements: {share} is no share of the images' side, such as 1/7") from error
        found.append(RelativeShift(Shift(pixels, direction, border, rounding), share))
    return found
