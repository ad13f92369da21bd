"""A recorded forward pass: the calls of all modules, the axes of their tensors, the trunk of the computation."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from equivariance.layers import operations
from equivariance.layers.axes import Atom, Axes, Axis

FACTORIES = {"empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"}
FACTORIES |= {"new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided"}


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the image.

    Attributes:
        place: where it lies in the output that holds it: () for the output itself, (1,) or ("out",) inside.
        node: its number in the order of computation.
        axes: None where they could not be told.
    """

    place: tuple
    node: int
    axes: Axes | None
    shape: tuple[int, ...]


@dataclass
class Call:
    """A module's `count`-th call in a forward pass, from 0; `inputs` and `outputs` depend on the image.

    Attributes:
        start, end: the nodes from `start` up to, without, `end` were computed in it.
    """

    name: str
    module: nn.Module
    count: int
    start: int
    inputs: list[Value]
    outputs: list[Value] = field(default_factory=list)
    children: list["Call"] = field(default_factory=list)
    end: int = 0

    def walk(self) -> Iterator["Call"]:
        """This call and all below it, in the order in which they began."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class Record:
    """A recorded forward pass.

    Attributes:
        root: the call of the network itself.
        logits: its output.
        trunk: the nodes that every path to the logits passes.
        activations: the outputs of functions of single entries, such as a ReLU.
        uses: for each node, those that were computed from it directly.
    """

    root: Call
    logits: Value
    trunk: frozenset[int]
    activations: frozenset[int]
    uses: dict[int, set[int]]


class _Flow(TorchDispatchMode):
    """Numbers all tensors that depend on the image, in order, and notes from which ones each was computed."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[set[int]] = []
        self.activations: set[int] = set()
        self.written: dict[StorageWeakRef, int] = {}  # memory: the last node written into it in place

    def enter(self, tensor: Tensor, sources: set[int], axes: Axes | None) -> None:
        tensor._node, tensor._axes = len(self.sources), axes  # type: ignore[attr-defined]
        self.sources.append(sources)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name not in operations.RULES:
            with self:  # what is made of simpler operations is followed through these
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        out = func(*args, **kwargs)
        if name in FACTORIES:
            return out
        inputs = [t for _, t in tensors((args, kwargs))]
        sources = {node for t in inputs for node in self._nodes(t)}
        if not sources:
            return out
        known = [(t, getattr(t, "_axes", None)) for t in inputs]
        known = [(t, axes) for t, axes in known if axes is not None]
        outputs = [t for _, t in tensors(out)]
        found = self._axes(name, func, args, kwargs, known, outputs)
        for tensor, axes in zip(outputs, found, strict=True):
            in_place = any(tensor is t for t in inputs)
            self.enter(tensor, sources, axes)
            if torch.Tag.pointwise in func.tags and len(inputs) == 1:
                self.activations.add(len(self.sources) - 1)
            if in_place and func._schema.is_mutable:
                self.written[StorageWeakRef(tensor.untyped_storage())] = len(self.sources) - 1
        return out

    def _nodes(self, tensor: Tensor) -> set[int]:
        nodes = (getattr(tensor, "_node", None), self.written.get(StorageWeakRef(tensor.untyped_storage())))
        return {node for node in nodes if node is not None}

    @staticmethod
    def _axes(name, func, args, kwargs, known, outputs) -> list[Axes | None]:
        if not known or not outputs:
            return [None] * len(outputs)
        schema = func._schema.arguments
        full = [*args, *(kwargs.get(a.name, a.default_value) for a in schema[len(args) :])]
        if name in ("split", "split_with_sizes", "unbind", "chunk"):
            return _pieces(name, known[0][1], full, outputs)
        base = name[:-1] if name.endswith("_") and not name.endswith("__") else name
        first = operations.infer(base, torch.Tag.pointwise in func.tags, full, known, outputs[0])
        return [first, *[None] * (len(outputs) - 1)]


def _pieces(name: str, axes: Axes, args: list, outputs: list[Tensor]) -> list[Axes | None]:
    if name == "unbind":
        return [operations.RULES["select"](axes, (None, args[1]), {}, t) for t in outputs]
    dim, start, found = args[2] % len(axes), 0, []
    for tensor in outputs:
        found.append(operations.cut(axes, dim, start, tensor.shape[dim]))
        start += tensor.shape[dim]
    return found


def tensors(content: Any, place: tuple = ()) -> Iterator[tuple[tuple, Tensor]]:
    """All tensors in nested tuples, lists and dicts, each with its place."""
    if isinstance(content, Tensor):
        yield place, content
    elif isinstance(content, dict):
        for key, each in content.items():
            yield from tensors(each, (*place, key))
    elif isinstance(content, list | tuple):
        for index, each in enumerate(content):
            yield from tensors(each, (*place, index))


class _Padding(TorchFunctionMode):
    """Replaces circular padding by replication, which is one operation and leaves the axes the same."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") == "pad":
            args = tuple("replicate" if isinstance(value, str) and value == "circular" else value for value in args)
            kwargs = {key: "replicate" if value == "circular" else value for key, value in (kwargs or {}).items()}
        return func(*args, **(kwargs or {}))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and every module's own mode again afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.inference_mode()
def record(model: nn.Module, image: Tensor) -> Record:
    """Run the network once, in evaluation mode, on two copies of an image (c, h, w), and record what happens.

    Raises:
        ValueError: the output does not depend on the image.
    """
    images = torch.stack([image, image])
    n, c, h, w = images.shape
    flow, stack = _Flow(), [Call("", model, 0, 0, [])]
    counts: dict[str, int] = {}
    known = [Atom("n", 1, n), Atom("c", 0, c), Atom("h", 1.0, h), Atom("w", 1.0, w)]
    flow.enter(images, set(), tuple(Axis((atom,)) for atom in known))

    def values(content: Any) -> list[Value]:
        known: list[tuple[tuple, Any]] = [(place, t) for place, t in tensors(content) if hasattr(t, "_node")]
        return [Value(place, t._node, t._axes, tuple(t.shape)) for place, t in known]

    def before(name):
        def hook(module, args, kwargs):
            count = counts[name] = counts.get(name, -1) + 1
            call = Call(name, module, count, len(flow.sources), values((args, kwargs)))
            stack[-1].children.append(call)
            stack.append(call)

        return hook

    def after(module, args, output):
        call = stack.pop()
        call.outputs, call.end = values(output), len(flow.sources)

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(before(name), with_kwargs=True))
        handles.append(module.register_forward_hook(after))
    try:
        with evaluating(model), _Padding(), flow:
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    root = stack[0].children[0]
    logits = _logits(root.outputs)
    uses: dict[int, set[int]] = {}
    for node, sources in enumerate(flow.sources):
        for source in sources:
            uses.setdefault(source, set()).add(node)
    return Record(root, logits, trunk(flow.sources, logits.node), frozenset(flow.activations), uses)


def _logits(outputs: list[Value]) -> Value:
    """The output; of several, the one called logits or out, or the first with one row per image."""
    named = [value for value in outputs if value.place and value.place[-1] in ("logits", "out")]
    rows = [value for value in outputs if len(value.shape) == 2]
    found = (named + rows + outputs)[:1]
    if not found:
        raise ValueError("the output does not depend on the image")
    return found[0]


def trunk(sources: list[set[int]], end: int) -> frozenset[int]:
    """The nodes that every path from node 0 to node `end` passes: those that no edge from `sources` jumps over."""
    last_use = {end: end}  # of each node on a path to the end, the last node computed from it
    for node in range(end, -1, -1):
        if node in last_use:
            for source in sources[node]:
                last_use.setdefault(source, node)
    found, reach = set(), 0
    for node in sorted(last_use):
        if reach <= node:
            found.add(node)
        reach = max(reach, last_use[node])
    return frozenset(found)
