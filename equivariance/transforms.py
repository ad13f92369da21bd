"""The transformations: how each acts on an image, and how it lines up two feature maps.

A transformation is a class with a `name`, a parameter `element` (90 degrees, 3 pixels), and three methods:
`check` (which images it is defined on), `act` (T_g x on images) and `align`. A group of them is a list.
To add one, write such a class here and a file in conf/measure/.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from equivariance.errors import UserError


class Transformation(Protocol):
    """One element g of a finite set of transformations."""

    name: ClassVar[str]
    element: int

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
        instead of applied to the original.

        Args:
            copy, original: f(T_g x) and f(x), (n, c, h, w), of a map with h, w > 1.
            stride: pixels of the image per position of the map; None if it could not be found.

        Returns:
            Two maps of equal shape that hold the positions defined on both sides; None where there are none.
        """


@dataclass(frozen=True)
class QuarterTurn:
    """Rotation by 90, 180 or 270 degrees, counter-clockwise; exact on square images."""

    element: int
    name: ClassVar[str] = "rotation"

    def __post_init__(self):
        if self.element not in (90, 180, 270):
            raise UserError(f"measure.transform.elements: {self.element} degrees; choose from 90, 180 and 270")

    def check(self, height: int, width: int) -> None:
        if height != width:
            raise UserError(
                f"quarter turns need square images, these are {height}x{width}: give a square dataset.size, "
                "or measure=translation"
            )

    def act(self, images: Tensor) -> Tensor:
        return images.rot90(self.element // 90, (-2, -1))

    def align(self, copy: Tensor, original: Tensor, stride: float | None) -> tuple[Tensor, Tensor] | None:
        return copy.rot90(-self.element // 90, (-2, -1)), original


@dataclass(frozen=True)
class DiagonalShift:
    """Shift by `element` pixels down and as many to the right, zeros entering.

    A map of stride k shifts by floor(element / k) positions (thesis, Sec. 4.2). Compared are only the positions
    that hold a shifted value: with zero fill and full maps the fill would be measured, not the network.
    """

    element: int
    name: ClassVar[str] = "translation"

    def __post_init__(self):
        if not isinstance(self.element, int) or self.element < 1:
            raise UserError(f"measure.transform.elements: a shift of {self.element}; needs whole pixels from 1 on")

    def check(self, height: int, width: int) -> None:
        if self.element >= min(height, width):
            raise UserError(
                f"a shift by {self.element} pixels leaves nothing of images of {height}x{width}: "
                "give smaller measure.transform.elements"
            )

    def act(self, images: Tensor) -> Tensor:
        shifted = images.new_zeros(images.shape)
        shifted[..., self.element :, self.element :] = images[..., : -self.element, : -self.element]
        return shifted

    def align(self, copy: Tensor, original: Tensor, stride: float | None) -> tuple[Tensor, Tensor] | None:
        if stride is None:
            return None
        shift = int(self.element / stride)
        height, width = original.shape[-2:]
        if shift >= min(height, width):
            return None
        return copy[..., shift:, shift:], original[..., : height - shift, : width - shift]


def quarter_turns(elements: Sequence[int]) -> list[Transformation]:
    """Rotations by these degrees."""
    return [QuarterTurn(degrees) for degrees in elements]


def diagonal_shifts(elements: Sequence[int]) -> list[Transformation]:
    """Diagonal shifts by these numbers of pixels."""
    return [DiagonalShift(pixels) for pixels in elements]
