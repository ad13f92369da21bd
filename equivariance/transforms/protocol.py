"""What a transformation is: how it acts on an image, and how it lines up two feature maps."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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
        differences of the maps of two images, see `statistics.moments`.

        Args:
            copy: f(T_g x), (n, c, h, w), a map with more than one position.
            original: f(x), of the same shape.
            stride: pixels of the image per position of the map; None if it is not defined.

        Returns:
            Two maps of equal shape that hold the positions defined on both sides; None where there are none.
        """


@dataclass(frozen=True)
class Derived:
    """A transformation made of another one, `moved`: what it does not say otherwise is as of that one."""

    moved: Any

    @property
    def element(self) -> float | str:
        return self.moved.element

    @property
    def prepare(self) -> Callable[[Tensor], Tensor] | None:
        return getattr(self.moved, "prepare", None)

    def check(self, height: int, width: int) -> None:
        self.moved.check(height, width)

    def act(self, images: Tensor) -> Tensor:
        return self.moved.act(images)

    def align(self, copy: Tensor, original: Tensor, stride: float | None) -> tuple[Tensor, Tensor] | None:
        return self.moved.align(copy, original, stride)


def preparation(transforms: Sequence[Transformation]) -> Callable[[Tensor], Tensor]:
    """What all images go through before they are measured and transformed: nothing, for most transformations.

    Raises:
        UserError: the transformations do not agree on it.
    """
    found: set[Callable[[Tensor], Tensor] | None] = {getattr(g, "prepare", None) for g in transforms}
    if len(found) > 1:
        raise UserError("these transformations need different images (a disc of them, or all): measure them apart")
    return (found.pop() if found else None) or (lambda images: images)


def several(given: Any) -> list[Transformation]:
    """One transformation or several ones as a list.

    Raises:
        UserError: there is none, one of them is no transformation, or one is there twice.
    """
    found = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    for g in found:
        if not all(hasattr(g, name) for name in ("name", "element", "check", "act", "align")):
            what = str(g) if isinstance(g, int | float | str) else f"a {type(g).__name__}"
            raise UserError(f"transforms: {what} is no transformation; give equivariance.rotations() or their like")
    if not found:
        raise UserError("transforms is empty: give at least one, such as equivariance.rotations()")
    names = [f"{g.name} by {g.element}" for g in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"transforms: {', '.join(twice)} is there twice")
    return found
