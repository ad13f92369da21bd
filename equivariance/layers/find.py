"""The only hooks: which feature maps a network has, their layout and stride, and a tap on them."""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.layers.axes import Atom, Axes, merge
from equivariance.layers.blocks import classifier, find_blocks
from equivariance.layers.record import Call, Record, Value, record

PARTS = ("early", "middle", "late", "pool", "final")


@dataclass(frozen=True)
class Layer:
    """A measured layer.

    Attributes:
        name: the module's path in the network (its second call in a pass: `relu#2`); `pool` and `final` are what
            enters the classifier and the logits. A network with `feature_layers()` gives its own names.
        index: its place in the network, from 0.
        part: early, middle or late third of the layers before pooling; pool; final.
        module: the module whose call holds the map.
        kind: its layout there, such as `n c h w`, `n h w c` or `n 1+hw c`: one token, then the positions by rows.
        channels: c.
        size: (h, w); (1, 1) behind global pooling.
        stride: pixels of the image per position of the map; None for a map whose stride is not defined.
        read: the map (n, c, h, w), or (n, c) behind global pooling, from the module's (inputs, output).
        call: which of the module's calls in a pass, from 0.
    """

    name: str
    index: int
    part: str
    module: nn.Module
    kind: str
    channels: int
    size: tuple[int, int]
    stride: float | None
    read: Callable[[Any, Any], Tensor]
    call: int = 0


def find_layers(model: nn.Module, image: Tensor, patterns: Sequence[str] | None = None) -> list[Layer]:
    """The layers of a network, as `survey` finds them."""
    return survey(model, image, patterns)[0]


def survey(
    model: nn.Module, image: Tensor, patterns: Sequence[str] | None = None
) -> tuple[list[Layer], dict[str, str]]:
    """The layers of a network for an image (c, h, w), and what is left out: its name and the reason.

    The layers are those that `patterns` name (`layer1.*`: a star stands for one part of a name, `**` for several),
    or those that `model.feature_layers()` names, or else the stem, all blocks, `pool` and `final`, found in one
    forward pass (see `blocks`); their layouts and strides follow from the same pass (see `operations`).

    Raises:
        UserError: a pattern matches nothing, or there is no layer to measure.
    """
    try:
        history = record(model, image)
    except ValueError as error:
        raise UserError(f"{type(model).__name__} cannot be measured: {error}") from error
    left_out: dict[str, str] = {}
    own = False
    if patterns:
        sites = _matching(history, patterns)
    elif hasattr(model, "feature_layers"):
        own = True
        named = {id(module): name for name, module in model.feature_layers().items()}
        calls = [call for call in history.root.walk() if id(call.module) in named and call.outputs]
        sites = [_output(call, call.outputs[0], named[id(call.module)]) for call in calls]
    else:
        sites, left_out = _all_sites(history)
    layers = []
    for site in sites:
        layout = read_layout(site.value)
        if isinstance(layout, str):
            left_out[site.name] = layout
            continue
        kind, channels, size, stride, read = layout
        part = site.name if site.name in PARTS else "" if size or own else _part(site, history)
        place = (site.on_input, *site.value.place)
        layers.append(
            Layer(
                site.name, len(layers), part, site.call.module, kind, channels, size or (1, 1), stride,
                _reader(place, read), site.call.count,
            )
        )  # fmt: skip
    if not layers:
        reasons = [f"{name}: {reason}" for name, reason in left_out.items()] or ["no module puts out a map"]
        shown = "; ".join(reasons[-3:]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
        raise UserError(f"{type(model).__name__} has no layer to measure ({shown})")
    return _cut_in_parts(layers), left_out


@contextmanager
def tap(layers: Iterable[Layer], receive: Callable[[str, Tensor], None]) -> Iterator[None]:
    """During the one forward pass inside, call `receive(name, map)` for each layer; nothing is kept.

    Maps are (n, c, h, w), or (n, c) behind global pooling, whatever the module's own layout.
    """
    calls: dict[nn.Module, int] = {}
    wanted: dict[nn.Module, dict[int, list[Layer]]] = {}
    for layer in layers:
        wanted.setdefault(layer.module, {}).setdefault(layer.call, []).append(layer)

    def hook(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        calls[module] = calls.get(module, -1) + 1
        for layer in wanted[module].get(calls[module], ()):
            receive(layer.name, layer.read((args, kwargs), output))

    handles = [module.register_forward_hook(hook, with_kwargs=True) for module in wanted]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def table(layers: Sequence[Layer], left_out: dict[str, str]) -> str:
    """The layers as text: name, kind, channels, height x width, stride and part; then what is left out, and why."""
    head = ("layer", "kind", "channels", "h x w", "stride", "part")
    lines = [head] + [
        (
            layer.name,
            layer.kind,
            str(layer.channels),
            f"{layer.size[0]} x {layer.size[1]}",
            "-" if layer.stride is None else f"{layer.stride:g}",
            layer.part,
        )
        for layer in layers
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    text += [f"left out: {name}: {reason}" for name, reason in left_out.items()]
    text += ["measure.layers=[NAME,..] measures other layers than these"] if left_out else []
    return "\n".join(text)


@dataclass(frozen=True)
class _Site:
    """A tensor at a module's call: one of its outputs, or of its inputs."""

    name: str
    call: Call
    value: Value
    on_input: bool = False


def _output(call: Call, value: Value, name: str | None = None) -> _Site:
    return _Site(name or call.name + (f"#{call.count + 1}" if call.count else ""), call, value)


def _all_sites(history: Record) -> tuple[list[_Site], dict[str, str]]:
    calls, left_out = find_blocks(history)
    sites = []
    for call in calls:
        value = next(v for v in call.outputs if v.node in history.trunk and v.node >= call.start)
        site, reason = _activated(_output(call, value), history)
        sites.append(site)
        if reason:
            left_out[f"non-linearity of {site.name}"] = reason
    head, reason = _head(history)
    if reason:
        left_out["pool"] = reason
    return sites + head, left_out


def _activated(site: _Site, history: Record) -> tuple[_Site, str | None]:
    """Behind `relu(conv(x))`, a function and no module, the map is what enters the next module.

    Where none takes it, the site stays in front of the function, and the text says so.
    """
    node = end = site.value.node
    while end + 1 in history.activations and end + 1 in history.trunk:
        end += 1
    if end == node:
        return site, None
    for call in history.root.walk():
        for value in call.inputs if call.start > end else ():
            if node < value.node <= end:
                return _Site(site.name, call, value, on_input=True), None
    return site, f"{site.name} is measured before it: it is a function, and no module puts it out or takes it"


def _head(history: Record) -> tuple[list[_Site], str | None]:
    """`pool` and `final`, and why there is no `pool` where there is none."""
    final = _Site("final", history.root, history.logits)
    last = classifier(history)
    if last is None or not last.inputs:
        return [final], "no linear map puts out the logits"
    pooled = last.inputs[0]
    if pooled.axes is None:
        return [final], f"cannot tell which axis is which in the input of {last.name} of shape {pooled.shape}"
    if any(axis.positions and _count(axis) > 1 for axis in pooled.axes):
        return [final], f"the classifier {last.name} comes before global pooling"
    return [_Site("pool", last, pooled, on_input=True), final], None


def _count(axis) -> int:
    return math.prod(atom.size for atom in axis.atoms)


def _matching(history: Record, patterns: Sequence[str]) -> list[_Site]:
    """All calls whose names match a pattern, in the order of their outputs."""
    head = _head(history)[0]
    sites = [_output(call, call.outputs[0]) for call in history.root.walk() if call.name and call.outputs] + head
    chosen: dict[str, _Site] = {}
    for pattern in patterns:
        shape = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^.]*").replace(r"\?", "[^.]")
        found = [site for site in sites if re.fullmatch(shape, site.name)]
        if not found:
            names = [site.name for site in sites]
            near = difflib.get_close_matches(pattern.replace("*", ""), names, n=4, cutoff=0.4) or names[:4]
            raise UserError(f"measure.layers: no module's name matches {pattern}; near ones are {', '.join(near)}")
        chosen |= {site.name: site for site in found}
    return sorted(chosen.values(), key=lambda site: (site.value.node, site.call.start))


def _part(site: _Site, history: Record) -> str:
    """Of a layer without positions."""
    return "final" if site.value.node == history.logits.node else "pool"


def _cut_in_parts(layers: list[Layer]) -> list[Layer]:
    """Early, middle and late: the layers before pooling in three, by index (numpy.array_split)."""
    before = [layer.index for layer in layers if not layer.part]
    parts = {i: part for part, third in zip(PARTS, np.array_split(before, 3), strict=False) for i in third}
    return [replace(layer, part=layer.part or parts[layer.index]) for layer in layers]


Layout = tuple[str, int, tuple[int, int] | None, float | None, Callable[[Tensor], Tensor]]


def read_layout(value: Value) -> Layout | str:
    """Kind, channels, (h, w), stride, and the function that makes (n, c, h, w) or (n, c) of the tensor.

    A text where the tensor is no feature map: why not.
    """
    axes = value.axes
    if axes is None:
        return f"cannot tell which axis is which in its output of shape {value.shape}"
    atoms = [atom for axis in axes for atom in axis.atoms]
    order = {name: [i for i, atom in enumerate(atoms) if atom.name == name] for name in "nchw"}
    for name in "hw":  # by falling step: windows, then positions inside
        order[name].sort(key=lambda i: (-atoms[i].step, -atoms[i].size))
    whole = {name: merge([atoms[i] for i in order[name]]) for name in "nchw"}
    if len(order["n"]) != 1 or not axes[0].atoms or axes[0].atoms[0].name != "n":
        return "the images of a batch do not lie along its first axis"
    if any(len(whole[name]) > 1 for name in "hw"):
        return f"its positions are no full grid of rows and columns: {kind(axes)}"
    channels = math.prod(atoms[i].size for i in order["c"])
    sizes = {name: whole[name][0].size if whole[name] else 1 for name in "hw"}
    if (sizes["h"] == 1) != (sizes["w"] == 1) and bool(whole["h"]) != bool(whole["w"]):
        return f"its positions lie along one axis only: {kind(axes)}"
    size = (sizes["h"], sizes["w"]) if whole["h"] and whole["w"] else None
    steps = {whole[name][0].step for name in "hw" if whole[name]}
    even = size and len(steps) == 1 and not any(map(math.isnan, steps))
    stride = steps.pop() if even else None
    return kind(axes), channels, size, stride, _arrange(axes, atoms, order, size and size != (1, 1))


def kind(axes: Axes) -> str:
    """The layout in letters: `n c h w`; `n 1+hw c` for one token before the positions."""

    def name(axis) -> str:
        letters = "".join(atom.name for atom in axis.atoms) or "1"
        before, after = (str(extra) if extra else "" for extra in (axis.before, axis.after))
        return "+".join(filter(None, (before, letters, after)))

    return " ".join(map(name, axes))


def _arrange(
    axes: Axes, atoms: list[Atom], order: dict[str, list[int]], spatial: bool
) -> Callable[[Tensor], Tensor]:
    sizes = [-1 if atom.name == "n" else atom.size for atom in atoms]
    permutation = [i for name in "nchw" for i in order[name]]
    lengths = [math.prod(atoms[i].size for i in order[name]) for name in ("chw" if spatial else "c")]
    cut = [(dim, axis.before, _count(axis)) for dim, axis in enumerate(axes) if axis.before or axis.after]
    plain = [tuple(a.name for a in axis.atoms) for axis in axes] == [(name,) for name in "nchw"] and spatial

    def arrange(tensor: Tensor) -> Tensor:
        if plain:
            return tensor
        for dim, start, length in cut:
            tensor = tensor.narrow(dim, start, length)
        return tensor.reshape(sizes).permute(permutation).reshape(-1, *lengths)

    return arrange


def _reader(place: tuple, arrange: Callable[[Tensor], Tensor]) -> Callable[[Any, Any], Tensor]:
    on_input, *inside = place

    def read(inputs: Any, output: Any) -> Tensor:
        found = inputs if on_input else output
        for key in inside:
            found = found[key]
        return arrange(found)

    return read


__all__ = ["PARTS", "Layer", "find_layers", "survey", "table", "tap"]
