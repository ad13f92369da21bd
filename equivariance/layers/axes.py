"""Which axis of a tensor is which: image number, channels, rows and columns.

An axis is written as the atoms that it is made of, the slowest first. 14x14 positions in a row behind one class
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
    def size(self) -> int:
        return self.before + math.prod(atom.size for atom in self.atoms) + self.after


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
    """The axes after `view(shape)`: row-major, so that the way of splitting and merging is unique."""
    if [axis.size for axis in axes] == list(shape):
        return axes
    queue: list[Atom | Axis] = []
    for axis in axes:
        if axis.before or axis.after:
            queue.append(axis)
        else:
            queue += [atom for atom in axis.atoms if atom.size > 1]
    result = []
    for size in shape:
        taken = _take(queue, size)
        if taken is None:
            return None
        result.append(taken)
    return tuple(result)


def _take(queue: list, size: int) -> Axis | None:
    """Take as much from the front of the queue of atoms as fills an axis of this size."""
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
        elif front.name == "c" and queue and isinstance(queue[0], Atom) and queue[0].name == "c":
            queue[0] = queue[0]._replace(size=queue[0].size * front.size)
        else:
            return None
    return Axis(merge(taken))
