"""The layout of a tensor: where its channels, rows and columns lie, and how to bring it to (n, c, h, w)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from equivariance.layers.axes import Axes, Axis, merge
from equivariance.layers.record import Value


class Layout(NamedTuple):
    """How to read a feature map.

    Attributes:
        kind: the axes in letters, see `kind`.
        channels: c.
        size: (h, w); None for a tensor without positions.
        stride: pixels of the image per position; None where rows and columns differ, or it is not defined.
        arrange: makes (n, c, h, w) of the tensor, or (n, c) where there is at most one position.
    """

    kind: str
    channels: int
    size: tuple[int, int] | None
    stride: float | None
    arrange: "Arrangement"


@dataclass(frozen=True)
class Arrangement:
    """Makes (n, c, h, w) of a tensor, or (n, c) where it has no positions.

    Attributes:
        cut: for axes with tokens that are no position, (axis, start, length) of what stays.
        sizes: of the atoms into which the axes are split, in order, -1 for the images.
        permutation: brings the atoms into the order n, c, h, w.
        lengths: (c, h, w) or (c,).
        mirrored: of the axes then, those that run backwards.
    """

    cut: Sequence[tuple[int, int, int]]
    sizes: Sequence[int]
    permutation: Sequence[int]
    lengths: Sequence[int]
    mirrored: Sequence[int] = ()

    def __call__(self, tensor: Tensor) -> Tensor:
        for dim, start, length in self.cut:
            tensor = tensor.narrow(dim, start, length)
        tensor = tensor.reshape(self.sizes).permute(*self.permutation).reshape(-1, *self.lengths)
        return tensor.flip(*self.mirrored) if self.mirrored else tensor


def rows(classes: int) -> Layout:
    """The layout of logits (n, classes)."""
    return Layout("n c", classes, None, None, Arrangement([], [-1, classes], [0, 1], [classes]))


def read_layout(value: Value) -> Layout | str:
    """The layout of a recorded tensor, or why it is no feature map."""
    axes = value.axes
    if axes is None:
        return f"cannot tell which axis is which in its output of shape {value.shape}"
    atoms = [atom for axis in axes for atom in axis.atoms]
    order = {name: [i for i, atom in enumerate(atoms) if atom.name == name] for name in "nchw"}
    for name in "hw":  # by falling step: windows, then positions inside
        order[name].sort(key=lambda i: (-abs(atoms[i].step), -atoms[i].size))
    if len(order["n"]) != 1:
        return f"the images lie along {len(order['n']) or 'none'} of its axes: {kind(axes)}"
    whole = {name: merge([atoms[i] for i in order[name]]) for name in "hw"}
    if any(len(merged) > 1 for merged in whole.values()):
        return f"its positions are no full grid of rows and columns: {kind(axes)}"
    height, width = (whole[name][0].size if whole[name] else 1 for name in "hw")
    if (height == 1) != (width == 1) and bool(whole["h"]) != bool(whole["w"]):
        return f"its positions lie along one axis only: {kind(axes)}"
    size = (height, width) if whole["h"] and whole["w"] else None
    steps = {abs(merged[0].step) for merged in whole.values() if merged}
    stride = steps.pop() if size and len(steps) == 1 else math.nan
    channels = math.prod(atoms[i].size for i in order["c"])
    spatial = size is not None and size != (1, 1)
    mirrored = [dim for dim, name in ((2, "h"), (3, "w")) if spatial and whole[name][0].step < 0]
    arrange = Arrangement(
        cut=[(dim, axis.before, axis.inner) for dim, axis in enumerate(axes) if axis.before or axis.after],
        sizes=[-1 if atom.name == "n" else atom.size for atom in atoms],
        permutation=[i for name in "nchw" for i in order[name]],
        lengths=[math.prod(atoms[i].size for i in order[name]) for name in ("chw" if spatial else "c")],
        mirrored=mirrored,
    )
    return Layout(kind(axes), channels, size, None if math.isnan(stride) else stride, arrange)


def kind(axes: Axes) -> str:
    """The layout in letters: `n c h w`; `n 1+hw c` for one token before the positions."""

    def name(axis: Axis) -> str:
        letters = "".join(atom.name for atom in axis.atoms) or "1"
        before, after = (str(extra) if extra else "" for extra in (axis.before, axis.after))
        return "+".join(filter(None, (before, letters, after)))

    return " ".join(map(name, axes))
