"""The layers of a network: which feature maps it has, their layout and stride, and how to read them."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equivariance.errors import UserError, reason
from equivariance.layers.blocks import classifier, find_blocks, has_positions, is_headless
from equivariance.layers.layout import Arrangement, read_layout, rows
from equivariance.layers.record import Call, Function, Record, Value, evaluating, readable, record, take
from equivariance.names import HEAD, PARTS


@dataclass(frozen=True)
class Layer:
    """A measured layer.

    Attributes:
        name: the module's path in the network (its second call in a pass: `relu#2`); `pool` and `final` are what
            enters the classifier and the logits (modules of these names: `pool#1`, `final#1`); without a classifier
            `pool` is the output, where it is behind global pooling. A network with `feature_layers()` gives its own
            names.
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
    read: "Reader"
    call: int = 0


@dataclass(frozen=True)
class Reader:
    """Takes a map out of a call's (inputs, output): the tensor at `place`, the functions behind it, arranged."""

    on_input: bool
    place: tuple
    node: int
    functions: dict[int, Function]
    arrange: Arrangement

    def __call__(self, inputs: Any, output: Any) -> Tensor:
        known = {self.node: take(inputs if self.on_input else output, self.place)}
        for node, function in self.functions.items():
            known[node] = function(known)
        *_, last = known.values()
        return self.arrange(last)


class Layers(list[Layer]):
    """The layers of a network, in order; printed, a table of them.

    Attributes:
        left_out: names of what is not measured, each with the reason.
        logits: where they lie in the network's output, see `record.take`; None where there are none, see
            `blocks.is_headless`.
    """

    def __init__(self, layers: Iterable[Layer] = (), left_out: dict | None = None, logits: tuple | None = None):
        super().__init__(layers)
        self.left_out: dict[str, str] = left_out or {}
        self.logits = logits

    def __str__(self) -> str:
        rows = [("layer", "kind", "channels", "h x w", "stride", "part")]
        for layer in self:
            size, stride = "{} x {}".format(*layer.size), "-" if layer.stride is None else f"{layer.stride:g}"
            rows.append((layer.name, layer.kind, str(layer.channels), size, stride, layer.part))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join(lines + [f"left out: {name}: {reason}" for name, reason in self.left_out.items()])

    __repr__ = __str__


@contextmanager
def explained(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Where what is inside fails since the network cannot take these images, say what it would take.

    Raises:
        UserError: with the way to such images; what the network says itself where none is known.
    """
    try:
        yield
    except (UserError, torch.OutOfMemoryError):  # which say it
        raise
    except Exception as error:
        if not (why := _failure(model, images)):
            raise
        weights = [each.dtype for each in model.parameters() if each.is_floating_point()]
        floats = images.to(weights[0] if weights else torch.float32)
        ways = {
            f"give {floats.dtype}, normalised as in training, such as (images / 255 - mean) / deviation": floats,
            "their channels are last, give images.permute(0, 3, 1, 2)": floats.movedim(3, 1),
            "it takes images of 1 channel": floats[:, :1],
            "it takes images of 3 channels": floats[:, [0, 0, 0]],
        }
        known = (way for way, others in ways.items() if not _failure(model, others))
        given = f"{str(images.dtype).removeprefix('torch.')} images of shape {tuple(images.shape[1:])}"
        way = next(known, f"{why}; are they what the network expects?")
        line = UserError(f"{type(model).__name__} cannot take {given}: {way}")
        raise line from (error if way.startswith(why) else None)  # the network's own, where nothing helps


def _failure(model: nn.Module, images: Tensor) -> str:
    """What a network says that cannot take these images; empty if it can."""
    try:
        with evaluating(model), torch.no_grad():
            model(images)
    except Exception as error:  # it may raise anything
        return reason(error)
    return ""


def find_layers(
    model: nn.Module, example: Tensor, patterns: Sequence[str | nn.Module | Layer] | None = None
) -> Layers:
    """The layers of a network, found in one forward pass in evaluation mode.

    They are those that `patterns` name, or those that `model.feature_layers()` names, or else the stem, all blocks,
    `pool` and `final` (see `blocks`). Layouts and strides follow from the same pass (see `operations`).

    Args:
        example: an image (c, h, w), or a batch of them (n, c, h, w), on the model's device; only its shape matters.
        patterns: of module names: in `layer1.*` a star stands for one part of a name, `**` for several; or modules.
            Layers that were found before are given back as they are.

    Raises:
        UserError: the network cannot take the example, a pattern matches nothing, or there is no layer to measure.
    """
    example = torch.as_tensor(example)
    if example.ndim not in (3, 4) or not example.numel():
        raise UserError(f"example: needs an image (c, h, w) or a batch (n, c, h, w), this is {(*example.shape,)}")
    model = readable(model)
    patterns = [patterns] if isinstance(patterns, str | nn.Module) else patterns
    if isinstance(patterns, Layers) and patterns:
        return patterns
    image = example if example.ndim == 3 else example[0]
    with explained(model, image[None]):
        history = record(model, image)
    logits = history.logits.place if history.logits and not is_headless(history) else None
    if patterns and all(isinstance(pattern, Layer) for pattern in patterns):
        return Layers(patterns, None, logits)  # type: ignore[arg-type]
    own_names: dict[str, nn.Module] = getattr(model, "feature_layers", dict)()
    named = {id(module): name for name, module in own_names.items()}
    calls = [call for call in history.root.walk() if id(call.module) in named and call.outputs]
    sites = [_output(call, history, named[id(call.module)]) for call in calls]
    left_out: dict[str, str] = {}
    if patterns:
        sites = _matching(history, patterns, sites)
    elif own_names:
        called = {id(call.module) for call in calls}
        left_out = {name: UNCALLED for module, name in named.items() if module not in called}
    else:
        sites, left_out = _all_sites(history)
    layers: list[Layer] = []
    for site in sites:
        layout = read_layout(site.value)
        if isinstance(layout, str) and site.name == "final" and len(site.value.shape) == 2:
            layout = rows(site.value.shape[1])
        if isinstance(layout, str):
            left_out[site.name] = layout
            continue
        part = site.name if site.name in HEAD else ""
        if not part and layout.size is None and (patterns or not own_names):
            is_last = logits is not None and history.logits and site.value.node == history.logits.node
            part = "final" if is_last else "pool"
        functions = {node: history.functions[node] for node in site.functions}
        read = Reader(site.on_input, site.value.place, site.value.node, functions, layout.arrange)
        size = layout.size or (1, 1)
        shape = (layout.kind, layout.channels, size, layout.stride)
        layers.append(Layer(site.name, len(layers), part, site.call.module, *shape, read, site.call.count))
    if not layers:
        reasons = [f"{name}: {reason}" for name, reason in left_out.items()] or ["no module puts out a map"]
        shown = "; ".join(reasons[-3:]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
        raise UserError(f"{type(model).__name__} has no layer to measure ({shown})")
    return Layers(_in_thirds(layers), left_out, logits)


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


@dataclass(frozen=True)
class _Site:
    """A tensor at a module's call: one of its outputs, or of its inputs."""

    name: str
    call: Call
    value: Value
    on_input: bool = False
    functions: Sequence[int] = ()


UNCALLED = "it is not called in a forward pass, or puts out nothing that depends on the image"


def _output(call: Call, history: Record, name: str | None = None) -> _Site:
    """What a module puts out: of several tensors the one through which all data pass, or the first."""
    value = next((value for value in call.outputs if value.node in history.trunk), call.outputs[0])
    again = f"#{call.count + 1}" if call.count else ""
    return _Site(name + again if name else call.title, call, value)


def _all_sites(history: Record) -> tuple[list[_Site], dict[str, str]]:
    """Stem, blocks and head, and what is left out of them."""
    calls, left_out = find_blocks(history)
    sites = []
    for call in calls:
        value = next(v for v in call.outputs if v.node in history.trunk and v.node >= call.start)
        sites.append(_Site(call.title, call, value, functions=history.functions_behind(value.node)))
    head, reasons = _head(history)
    return sites + head, left_out | reasons


def _head(history: Record) -> tuple[list[_Site], dict[str, str]]:
    """`pool` and `final`, and why one is missing where it is."""
    if history.logits is None:
        return [], {"final": "of several outputs none is called logits or out, and none has one row per image"}
    if is_headless(history):
        output = [] if has_positions(history.logits) else [_Site("pool", history.root, history.logits)]
        return output, {"final": "the network has no classifier: its output is features"}
    final = _Site("final", history.root, history.logits)
    last = classifier(history)
    if last is None or not last.inputs:
        return [final], {"pool": "no linear map puts out the logits"}
    pooled = last.inputs[0]
    if pooled.axes is None:
        reason = f"cannot tell which axis is which in the input of {last.name} of shape {pooled.shape}"
        return [final], {"pool": reason}
    if has_positions(pooled):
        return [final], {"pool": f"the classifier {last.name} comes before global pooling"}
    return [_Site("pool", last, pooled, on_input=True), final], {}


def _matching(history: Record, patterns: Sequence[str | nn.Module | Layer], own: list[_Site]) -> list[_Site]:
    """All calls of modules that are given or whose names match a pattern, in the order of their outputs.

    Args:
        own: those that the network has names of its own for, which go before the modules' names.
    """
    sites = [_output(call, history) for call in history.root.walk() if call.name and call.outputs]
    sites += [site for site in own if site.name not in HEAD] + _head(history)[0]
    chosen: dict[tuple[int, bool], _Site] = {}
    for pattern in patterns:
        if isinstance(pattern, nn.Module):
            found = [site for site in sites if site.call.module is pattern and not site.on_input]
        elif isinstance(pattern, str):
            shape = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^.]*").replace(r"\?", "[^.]")
            found = [site for site in sites if re.fullmatch(shape, site.name)]
        else:
            raise UserError(f"layers: {pattern!r} is no module, and no pattern of names (layers go by themselves)")
        if not found:
            raise UserError(f"layers: {_missing(history.root.module, pattern, [site.name for site in sites])}")
        chosen |= {(id(site.call), site.on_input): site for site in found}
    return sorted(chosen.values(), key=lambda site: (site.value.node, site.call.start))


def _missing(model: nn.Module, pattern: str | nn.Module, names: list[str]) -> str:
    """Why nothing matches a pattern."""
    name = next((name for name, module in model.named_modules() if pattern is module or pattern == name), None)
    if name is not None:
        return f"{name}: {UNCALLED}"
    if isinstance(pattern, nn.Module):
        return f"the module {type(pattern).__name__} is no part of the network"
    near = difflib.get_close_matches(pattern.replace("*", ""), names, n=4, cutoff=0.4) or names[:4]
    return f"no module's name matches {pattern}; near ones are {', '.join(near)}"


def _in_thirds(layers: list[Layer]) -> list[Layer]:
    """Early, middle and late: the layers before pooling in three, by index (numpy.array_split)."""
    before = [layer.index for layer in layers if not layer.part]
    parts = {i: part for part, third in zip(PARTS, np.array_split(before, 3), strict=False) for i in third}
    return [replace(layer, part=layer.part or parts[layer.index]) for layer in layers]
