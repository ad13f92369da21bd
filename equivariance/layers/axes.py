"""Which axis of a tensor is which: images of a batch, channels, rows and columns.

An axis consists of atoms, the slowest first. 14x14 positions in a row behind one class
token are `Axis((Atom("h", 16, 14), Atom("w", 16, 14)), before=1)`; a split into windows of 7 has its rows as
`Atom("h", 7 * 4, 8)` and `Atom("h", 4, 7)`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Atom(NamedTuple):
    """`size` entries of an axis of the image, `step` apart (pixels; NaN where they are not evenly spaced).

    name: n (images), h (rows), w (columns), or c: all that is neither.
    """

    name: str
    step: float
    size: int


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor; `before` and `after` count entries beside its atoms: tokens that are no position."""

    atoms: tuple[Atom, ...] = ()
    before: int = 0
    after: int = 0

    @property
    def names(self) -> set[str]:
        return {atom.name for atom in self.atoms}

    @property
    def positions(self) -> bool:
        return not self.names.isdisjoint("hw")

    @property
    def inner(self) -> int:
        return math.prod(atom.size for atom in self.atoms)

    @property
    def size(self) -> int:
        return self.before + self.inner + self.after


Axes = tuple[Axis, ...]


def channels(size: int) -> Axis:
    return Axis((Atom("c", 0, size),))


def merge(atoms: Sequence[Atom]) -> tuple[Atom, ...]:
    """Join neighbours that together run through one axis of the image in even steps."""
    merged: list[Atom] = []
    for atom in atoms:
        last = merged[-1] if merged else None
        if last and last.name == atom.name and last.step == atom.step * (atom.size if atom.name != "c" else 1):
            merged[-1] = Atom(atom.name, atom.step, last.size * atom.size)
        else:
            merged.append(atom)
    return tuple(merged)


def regroup(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """The axes after `view(shape)`, row-major; None where an entry of the result is no part of one axis."""
    if [axis.size for axis in axes] == list(shape):
        return axes
    queue: list[Atom | Axis] = []  # what the axes of the result are taken from, in order
    for axis in axes:
        if axis.before or axis.after:
            queue.append(axis)
        else:
            queue += [atom for atom in axis.atoms if atom.size > 1]
    found = [_take(queue, size) for size in shape]
    taken = tuple(axis for axis in found if axis is not None)
    return taken if len(taken) == len(found) else None


def _take(queue: list[Atom | Axis], size: int) -> Axis | None:
    """Take from the front of the queue what fills an axis of this size; None if nothing does."""
    taken: list[Atom] = []
    while size > 1:
        if not queue:
            return None
        front = queue.pop(0)
        if isinstance(front, Axis):  # positions beside other tokens: neither split nor merged
            return front if front.size == size and not taken else None
        if size % front.size == 0:
            taken.append(front)
            size //= front.size
        elif front.size % size == 0:
            inner = front.size // size
            taken.append(Atom(front.name, front.step * (inner if front.name != "c" else 1), size))
            queue.insert(0, front._replace(size=inner))
            size = 1
        elif front.name == "c" and queue and isinstance(second := queue[0], Atom) and second.name == "c":
            queue[0] = second._replace(size=second.size * front.size)
        else:
            return None
    return Axis(merge(taken))
