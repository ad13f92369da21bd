"""Transformations that move whole pixels: symmetries of the square, and shifts."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from equivariance.errors import UserError


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
            raise UserError(f"elements: quarter turns need square images, these are {height}x{width}; crop them")

    def act(self, images: Tensor) -> Tensor:
        return (images.flip(-1) if self.mirrored else images).rot90(self.turns, (-2, -1))

    def align(self, copy: Tensor, original: Tensor, stride: float | None) -> tuple[Tensor, Tensor] | None:
        # gathering whole channel vectors is faster than flips and transpositions, as maps lie channels-last
        order = _upright(self, *copy.shape[2:], copy.device)
        rows = copy.movedim(1, -1).flatten(1, 2).index_select(1, order)
        return rows.unflatten(1, original.shape[2:]).movedim(-1, 1), original


@cache
def _upright(g: Dihedral, height: int, width: int, device: torch.device) -> Tensor:
    """Where each position of a map, row by row, lies on the map of the transformed image: g undone."""
    positions = torch.arange(height * width, device=device).view(height, width).rot90(-g.turns)
    return (positions.flip(1) if g.mirrored else positions).flatten()


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

    @property
    def name(self) -> str:
        """translation, with another border than the overlap: full translation, circular translation."""
        return "translation" if self.border == "overlap" else f"{self.border} translation"

    def __post_init__(self):
        if not isinstance(self.element, int) or self.element < 1:
            raise UserError(f"elements: a shift by {self.element}; needs whole pixels from 1 on")
        for key, known in (("direction", DIRECTIONS), ("border", BORDERS), ("rounding", ROUNDINGS)):
            if getattr(self, key) not in known:
                raise UserError(f"{key}={getattr(self, key)}: choose {', '.join(known)}")

    def check(self, height: int, width: int) -> None:
        down, right = self._steps(self.element)
        if down >= height or right >= width:
            raise UserError(
                f"elements: a shift by {self.element} pixels leaves nothing of images of {height}x{width}; "
                "give smaller ones"
            )

    def act(self, images: Tensor) -> Tensor:
        return self._moved(images, self.element)

    def align(self, copy: Tensor, original: Tensor, stride: float | None) -> tuple[Tensor, Tensor] | None:
        if stride is None or (self.rounding == "exact" and self.element % stride):
            return None
        positions = int(self.element / stride + (0.5 if self.rounding == "round" else 0))
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
