"""Rules for the axes of an operation's output, given those of its inputs.

Sizes do not tell axes apart (a 14x14 map may have 14 channels), but their origin does. The image's axes are known,
and each operation has a rule: a convolution of stride 2 doubles the step between rows, a view splits or merges
axes, a permutation moves them, a matrix product replaces the last one. So layout, stride and extra tokens of every
layer follow from one forward pass.

A rule takes the axes of the first argument (None where unknown), all arguments, the known axes by the id of their
tensor, and the output; it returns the output's axes, or None where they cannot be told.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from torch import Tensor

from equivariance.layers.axes import Atom, Axes, Axis, channels, regroup

Rule = Callable[[Axes | None, Sequence[Any], dict[int, Axes], Tensor], Axes | None]


def infer(
    operation: str, pointwise: bool, args: Sequence[Any], known: Sequence[tuple[Tensor, Axes]], out: Tensor
) -> Axes | None:
    """The axes of an operation's output; None where they cannot be told.

    Args:
        operation: ATen's name of it, such as `convolution`.
        pointwise: whether each entry of the output comes from the entries at its place.
        args: its arguments, defaults included; tensors among them whose axes are known are repeated in `known`.
        out: its (first) output.
    """
    axes = {id(tensor): each for tensor, each in known}
    first = axes.get(id(args[0])) if args else None
    keeps_shape = any(tensor.shape == out.shape for tensor, _ in known)
    found = RULES.get(operation, _broadcast if pointwise or keeps_shape else _unknown)(first, args, axes, out)
    if found is None or [axis.size for axis in found] != list(out.shape):
        return None
    return found


def _broadcast(first, args, axes, out):
    """Elementwise operations, and all others that keep the shape: each axis as in the operand that spans it."""
    if any(len(each) > out.ndim for each in axes.values()):
        return None
    result: list[Axis] = []
    columns = list(zip_longest(*(reversed(each) for each in axes.values())))
    columns += [()] * (out.ndim - len(columns))
    for size, column in zip(reversed(out.shape), columns, strict=True):
        spanning = [axis for axis in column if axis and axis.size == size]
        if any(axis.positions and "c" not in axis.names for axis in spanning):  # pure positions decide
            spanning = [axis for axis in spanning if "c" not in axis.names or not axis.positions]
        places = {tuple((a.name, a.step < 0) for a in axis.atoms) for axis in spanning if axis.positions}
        if len(places) > 1:  # rows of one operand on columns of the other, or a map on its mirror image
            return None
        spanning.sort(key=lambda axis: (not axis.positions, not axis.atoms))
        result.append(spanning[0] if spanning else channels(size))
    return tuple(reversed(result))


def _window(first: Axes | None, out: Tensor, stride: Sequence[int] | int, invert: bool = False) -> Axes | None:
    """A window that moves by `stride` positions along the last axes; inverted, upsampling by `stride`."""
    spatial = out.ndim - 2
    strides = [stride] * spatial if isinstance(stride, int) else list(stride) * (spatial if len(stride) == 1 else 1)
    return _scaled(first, out, [1 / by if invert else by for by in strides])


def _scaled(first: Axes | None, out: Tensor, factors: Sequence[float]) -> Axes | None:
    """Other channels, and positions along the last axes that are farther apart by these factors."""
    if first is None or len(first) != out.ndim:
        return None
    result = [first[0], channels(out.shape[1])]
    for axis, by, size in zip(first[2:], factors, out.shape[2:], strict=True):
        if by == 1 and size == axis.size:
            result.append(axis)
        elif len(axis.atoms) > 1 or axis.before or axis.after:
            return None
        else:
            result.append(Axis(tuple(Atom(a.name, a.step * by, size) for a in axis.atoms)))
    return tuple(result)


def _convolution(first, args, axes, out):
    padding = args[4] if any(args[4]) else None
    return _covered(args[0], args[1].shape[2:], padding, _window(first, out, args[3], invert=args[6]))


def _pool(first, args, axes, out):
    result = _covered(args[0], args[1], None, _window(first, out, args[2] or args[1]))
    return result and (result[0], first[1], *result[2:])


def _covered(x: Tensor, kernel: Sequence[int], padding: Sequence[int] | None, result: Axes | None) -> Axes | None:
    """One window over the whole map leaves no positions, as global pooling does."""
    if result is None or padding or list(kernel) != list(x.shape[2:]) or max(kernel) == 1:
        return result
    return (*result[:2], *(Axis() for _ in kernel))


def _resample(first, args, axes, out):
    """Resizing by a whole factor, up or down; otherwise the steps are uneven, or unknown."""
    sizes = zip(args[0].shape[2:], out.shape[2:], strict=False)
    scaled = _scaled(first, out, [math.nan if old % new and new % old else old / new for old, new in sizes])
    if scaled is None:
        return None
    each = zip(scaled, out.shape, strict=True)
    return tuple(axis if axis.size == size else channels(size) for axis, size in each)  # one value, repeated


def _view(first, args, axes, out):
    return first and regroup(first, out.shape)


def _squeeze(first, args, axes, out):
    """Axes of size 1 leave; those that stay keep what they are."""
    if first is None:
        return None
    dims = args[1:] and (args[1] if isinstance(args[1], list | tuple) else [args[1]])
    gone = {dim % len(first) for dim in dims} if dims else set(range(len(first)))
    return tuple(axis for i, axis in enumerate(first) if i not in gone or axis.size != 1)


def _unsqueeze(first, args, axes, out):
    place = args[1] % out.ndim
    return first and (*first[:place], Axis(), *first[place:])


def _permute(first, args, axes, out):
    return first and tuple(first[dim] for dim in args[1])


def _transpose(first, args, axes, out):
    if first is None:
        return None
    result, (a, b) = list(first), args[1:] or (-2, -1)
    result[a], result[b] = result[b], result[a]
    return tuple(result)


def _reduce(first, args, axes, out):
    """Sums and means over some axes: these have no position any more."""
    if first is None:
        return None
    given: Any = [arg for arg in args[1:3] if isinstance(arg, int | list | tuple) and not isinstance(arg, bool)]
    dims = [given[0]] if given and isinstance(given[0], int) else given and given[0]
    gone = {dim % len(first) for dim in dims or range(len(first))}
    kept = [Axis() if i in gone else axis for i, axis in enumerate(first)]
    return tuple(kept if out.ndim == len(first) else [axis for i, axis in enumerate(kept) if i not in gone])


def _slice(first, args, axes, out):
    dim, start, _, step = args[1:]
    return first and cut(first, dim % out.ndim, start or 0, out.shape[dim], step)


def cut(axes: Axes, dim: int, start: int, size: int, step: int = 1) -> Axes | None:
    """`size` entries of axis `dim`, from `start` on."""
    axis = axes[dim]
    whole, inner = axis.size, axis.inner
    start = start + whole if start < 0 else start
    if start == 0 and size == whole:
        piece = axis
    elif (axis.before or axis.after) and step == 1 and (start, size) == (axis.before, inner):
        piece = replace(axis, before=0, after=0)
    elif not axis.positions or start + size <= axis.before or start >= axis.before + inner:
        piece = channels(size)
    elif step == 1 and start <= axis.before and start + size >= axis.before + inner:
        piece = Axis(axis.atoms, axis.before - start, start + size - axis.before - inner)
    elif len(axis.atoms) == 1 and inner == whole:
        piece = Axis((axis.atoms[0]._replace(step=axis.atoms[0].step * step, size=size),))
    else:
        return None
    return (*axes[:dim], piece, *axes[dim + 1 :])


def _select(first, args, axes, out):
    return first and tuple(axis for i, axis in enumerate(first) if i != args[1] % len(first))


def _pad(first, args, axes, out):
    """More rows and columns, or more tokens beside the positions."""
    if first is None:
        return None
    result = list(first)
    for i in range(len(args[1]) // 2):
        axis, (before, after) = first[-1 - i], args[1][2 * i : 2 * i + 2]
        if len(axis.atoms) == 1 and not axis.before and not axis.after:
            axis = Axis((axis.atoms[0]._replace(size=out.shape[-1 - i]),))
        elif before >= 0 <= after:
            axis = replace(axis, before=axis.before + before, after=axis.after + after)
        else:
            return None
        result[-1 - i] = axis
    return tuple(result)


def _stack(first, args, axes, out):
    dim = args[1] % out.ndim
    template = next((axes[id(tensor)] for tensor in args[0] if id(tensor) in axes), None)
    return template and (*template[:dim], channels(out.shape[dim]), *template[dim:])


def _patches(first, args, axes, out):
    """im2col: windows of an image (n, c, h, w) as columns (n, c * kernel, h' * w')."""
    if first is None or any(len(axis.atoms) != 1 for axis in first[2:]):
        return None
    sizes = [
        (axis.atoms[0].size + 2 * pad - spread * (kernel - 1) - 1) // stride + 1
        for axis, kernel, spread, pad, stride in zip(first[2:], *args[1:5], strict=True)
    ]
    steps = [axis.atoms[0].step * stride for axis, stride in zip(first[2:], args[4], strict=True)]
    rows, columns = (Atom(name, step, size) for name, step, size in zip("hw", steps, sizes, strict=True))
    return (first[0], channels(out.shape[1]), Axis((rows, columns)))


def _cat(first, args, axes, out):
    """Pieces of one axis of the image put together again, positions with tokens beside them, or channels."""
    dim = args[1] % out.ndim
    parts = [(tensor.shape[dim], axes.get(id(tensor))) for tensor in args[0] if tensor.ndim == out.ndim]
    placed = [i for i, (_, each) in enumerate(parts) if each and each[dim].positions]
    template = parts[placed[0]][1] if placed else next((each for _, each in parts if each), None)
    if not template:
        return None
    axis = template[dim]
    if not placed:
        axis = channels(out.shape[dim])
    elif len(placed) == 1:
        before, after = (sum(size for size, _ in some) for some in (parts[: placed[0]], parts[placed[0] + 1 :]))
        axis = replace(axis, before=before + axis.before, after=after + axis.after)
    else:
        pieces = [each[dim] for _, each in parts if each]
        whole = all(len(each.atoms) == 1 and not each.before + each.after for each in pieces)
        if not whole or len({each.atoms[0][:2] for each in pieces}) > 1 or len(placed) < len(parts):
            return None
        axis = Axis((axis.atoms[0]._replace(size=out.shape[dim]),))
    return (*template[:dim], axis, *template[dim + 1 :])


def _product(rows: int):
    """A matrix product takes all axes but the last of the left factor, and the last of the right one."""

    def rule(first, args, axes, out):
        left, right = axes.get(id(args[rows])), axes.get(id(args[rows + 1]))
        if left is None:
            return None
        return (*left[:-1], right[-1] if right else channels(out.shape[-1]))

    return rule


def _last(first, args, axes, out):
    """Linear maps, and attention with respect to its queries: the last axis becomes another one."""
    return first and (*first[:-1], channels(out.shape[-1]))


def _restride(first, args, axes, out):
    """Another way to write the strides of axes of size 1."""
    same = all(
        size == 1 or (size == old and a == b)
        for size, old, a, b in zip(out.shape, args[0].shape, out.stride(), args[0].stride(), strict=False)
    )
    return first if same and out.ndim == args[0].ndim else None


def _flip(first, args, axes, out):
    """Rows or columns in the other direction have a negative step."""
    if first is None or any("n" in first[dim].names for dim in args[1]):
        return None
    result = list(first)
    for dim in args[1]:
        atoms = tuple(atom._replace(step=-atom.step) for atom in first[dim].atoms)
        result[dim] = Axis(atoms, before=first[dim].after, after=first[dim].before)
    return tuple(result)


def _index(first, args, axes, out):
    dims = [dim for dim, index in enumerate(args[1]) if index is not None]
    return None if len(dims) != 1 or args[1][dims[0]].ndim != 1 else _other(first, dims, out)


def _chosen(first, args, axes, out):
    """Chosen or sorted along the axis that the first whole number names."""
    dims = [arg for arg in args[1:] if isinstance(arg, int) and not isinstance(arg, bool)]
    return _other(first, dims[:1], out)


def _repeat(first, args, axes, out):
    dims = [dim for dim, times in enumerate(args[1]) if times != 1]
    return _other(first, dims, out) if out.ndim == args[0].ndim else None


def _other(first, dims, out):
    """Along some axes other entries: channels become other channels, the places of positions are lost."""
    if first is None or any(first[dim].names & {"n", "h", "w"} for dim in dims):
        return None
    gone = {dim % len(first) for dim in dims}
    return tuple(channels(out.shape[i]) if i in gone else axis for i, axis in enumerate(first))


def _unknown(first, args, axes, out):
    return None


ATTENTION = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")
OPERATIONS: dict[Rule, str] = {  # ATen's names of the operations that a rule holds for
    _convolution: "convolution _convolution",
    _pool: "max_pool2d_with_indices max_pool2d avg_pool2d",
    _resample: "_adaptive_avg_pool2d adaptive_max_pool2d pixel_shuffle pixel_unshuffle "
    "upsample_nearest2d upsample_bilinear2d upsample_bicubic2d",
    _last: "linear scaled_dot_product_attention " + " ".join(f"_scaled_dot_product_{each}" for each in ATTENTION),
    _product(0): "mm bmm matmul",
    _product(1): "addmm baddbmm",
    _view: "view _unsafe_view reshape _reshape_alias",
    _reduce: "mean sum amax amin max var std linalg_vector_norm",
    _pad: "constant_pad_nd reflection_pad2d replication_pad2d",
    _transpose: "transpose transpose_ t",
    _broadcast: "expand",
    _permute: "permute",
    _unsqueeze: "unsqueeze",
    _squeeze: "squeeze",
    _slice: "slice",
    _select: "select",
    _cat: "cat",
    _stack: "stack",
    _patches: "im2col",
    _restride: "as_strided",
    _flip: "flip",
    _index: "index",
    _chosen: "index_select gather sort",
    _repeat: "repeat",
    _unknown: "topk unfold",
}
RULES = {name: rule for rule, names in OPERATIONS.items() for name in names.split()}
