"""A recorded forward pass: the calls of all modules, the axes of their tensors, the trunk of the computation."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from equivariance.errors import UserError
from equivariance.layers import operations
from equivariance.layers.axes import Atom, Axes, Axis, channels
from equivariance.names import HEAD

PRODUCTS = {"convolution", "_convolution", "linear", "addmm", "mm", "baddbmm", "bmm", "matmul"}
COPIES = {"detach", "alias", "clone", "_to_copy"}


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
        mapped: it ran inside `torch.vmap` or another transformation of `torch.func`.
    """

    name: str
    module: nn.Module
    count: int
    start: int
    inputs: list[Value]
    outputs: list[Value] = field(default_factory=list)
    children: list["Call"] = field(default_factory=list)
    end: int = 0
    mapped: bool = False

    @property
    def title(self) -> str:
        """Its module's name; of a second call in the pass `name#2`, and `pool#1` where `pool` is another layer."""
        return self.name + (f"#{self.count + 1}" if self.count or self.name in HEAD else "")

    @property
    def has_parameters(self) -> bool:
        return any(True for _ in self.module.parameters())

    def walk(self) -> Iterator["Call"]:
        """This call and all below it, in the order in which they began."""
        yield self
        for child in self.children:
            yield from child.walk()


class Source(NamedTuple):
    """Stands for the tensor of a node among the arguments of a function."""

    node: int


class Function(NamedTuple):
    """A function of single entries, such as a ReLU, of tensors of some nodes; ATen's name, not in place."""

    name: str
    overload: str
    args: tuple
    kwargs: dict[str, Any]

    def __call__(self, known: dict[int, Tensor]) -> Tensor:
        def given(value: Any) -> Any:
            return known[value.node] if isinstance(value, Source) else value

        operation = getattr(getattr(torch.ops.aten, self.name), self.overload)
        return operation(*map(given, self.args), **{key: given(value) for key, value in self.kwargs.items()})


@dataclass(frozen=True)
class Record:
    """A recorded forward pass.

    Attributes:
        root: the call of the network itself.
        logits: its output; None where it has several and none of them are the logits.
        trunk: the nodes that every path to the logits passes, or to one of the outputs.
        products: the nodes that a matrix or a filter, which does not depend on the image, was applied to make.
        functions: those that a function of single entries made.
        sources: for each node, those that it was computed from directly.
    """

    root: Call
    logits: Value | None
    trunk: frozenset[int]
    products: frozenset[int]
    functions: dict[int, Function]
    sources: list[set[int]]

    def functions_behind(self, node: int) -> list[int]:
        """The functions of single entries through which all data pass behind a node of the trunk, in order.

        They end before the next module begins that holds a matrix or a filter.
        """
        starts = (c.start for c in self.root.walk() if c.start > node and self.holds_product(c))
        steps: list[int] = []
        last = 0
        for each in range(node + 1, min(starts, default=len(self.sources))):
            if each in self.functions and self.sources[each] <= {node, *steps}:
                steps.append(each)
                last = len(steps) if each in self.trunk else last
            elif each in self.trunk:
                break
        return steps[:last]

    def holds_product(self, call: Call, parts: Iterable[Call] = ()) -> bool:
        """Whether a module applies a matrix or a filter, outside its `parts`, and has parameters."""
        nodes = (n for n in self.products if call.start <= n < call.end)
        own = any(not any(part.start <= node < part.end for part in parts) for node in nodes)
        return own and call.has_parameters


class _Flow(TorchDispatchMode):
    """Numbers all tensors that depend on the image, in order, and notes from which ones each was computed."""

    _should_skip_dynamo = staticmethod(lambda: False)  # PyTorch would load its compiler for it, which takes seconds

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[set[int]] = []
        self.products: set[int] = set()
        self.functions: dict[int, Function] = {}
        # by memory: the last that was written into it
        self.written: dict[StorageWeakRef, tuple[int, Axes | None]] = {}

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
        if name.endswith("_like") or name.startswith("new_"):  # only the shape is that of the argument
            return out
        inputs = [t for _, t in tensors((args, kwargs))]
        numbers = {id(t): self.node(t) for t in inputs}
        sources = {node for t in inputs for node in self._nodes(t)}
        if not sources:
            return out
        known = [(t, axes) for t in inputs if (axes := self.axes(t)) is not None]
        outputs = [t for _, t in tensors(out)]
        found = self._axes(name, func, args, kwargs, known, outputs)
        for tensor, axes in zip(outputs, found, strict=True):
            in_place = any(tensor is t for t in inputs)
            is_real = not tensor.is_complex()  # of complex numbers there is no correlation here
            self.enter(tensor, sources, axes if is_real else None)
            node = len(self.sources) - 1
            if name in PRODUCTS and any(t.ndim > 1 and numbers[id(t)] is None for t in inputs):
                self.products.add(node)
            elif is_real and (pointwise := self._function(func, name, args, kwargs, numbers)):
                self.functions[node] = pointwise
            if in_place and func._schema.is_mutable:
                filled = axes or next((axes for t, axes in known if t.ndim == tensor.ndim), None)
                self.written[StorageWeakRef(tensor.untyped_storage())] = node, filled
        return out

    def _nodes(self, tensor: Tensor) -> set[int]:
        written = self.written.get(StorageWeakRef(tensor.untyped_storage()), (None, None))
        return {node for node in (getattr(tensor, "_node", None), written[0]) if node is not None}

    def node(self, tensor: Tensor) -> int | None:
        """The number of what a tensor holds now; None where it does not depend on the image."""
        return max(self._nodes(tensor), default=None)

    def axes(self, tensor: Tensor) -> Axes | None:
        """The axes of a tensor; of one that was filled part by part those of the parts."""
        if (axes := getattr(tensor, "_axes", None)) is not None:
            return axes
        _, filled = self.written.get(StorageWeakRef(tensor.untyped_storage()), (None, None))
        if filled is None or len(filled) != tensor.ndim:
            return None
        whole = [axis.size == size for axis, size in zip(filled, tensor.shape, strict=True)]
        if any(axis.names & set("nhw") for axis, same in zip(filled, whole, strict=True) if not same):
            return None
        each = zip(filled, whole, tensor.shape, strict=True)
        return tuple(axis if same else channels(size) for axis, same, size in each)

    @staticmethod
    def _function(func: Any, name: str, args: tuple, kwargs: dict, numbers: dict) -> Function | None:
        """What to call to do the same again, if it works on single entries of tensors that depend on the image."""
        plain = name.removesuffix("_")
        if torch.Tag.pointwise not in func.tags and plain not in COPIES:
            return None
        if not hasattr(getattr(torch.ops.aten, plain, None), func._overloadname):
            return None
        values = [*args, *kwargs.values()]
        inside, plain_ones = [t for _, t in tensors(values)], [v for v in values if isinstance(v, Tensor)]
        if len(inside) != len(plain_ones) or any(numbers[id(t)] is None and t.ndim for t in inside):
            return None

        def noted(value: Any) -> Any:
            return Source(numbers[id(value)]) if numbers.get(id(value)) is not None else value

        given = {key: noted(value) for key, value in kwargs.items()}
        return Function(plain, func._overloadname, tuple(map(noted, args)), given)

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
    """All tensors in nested tuples, lists, dicts, dataclasses, and in attributes of other objects; with places."""
    held: Iterable[tuple[Any, Any]] = ()
    if isinstance(content, Tensor):
        yield place, content
    elif isinstance(content, dict):
        held = content.items()
    elif isinstance(content, list | tuple):
        held = enumerate(content)
    elif is_dataclass(content):
        held = [(each.name, getattr(content, each.name)) for each in fields(content)]
    elif not isinstance(content, nn.Module):
        held = [(key, each) for key, each in getattr(content, "__dict__", {}).items() if isinstance(each, Tensor)]
    for key, each in held:
        yield from tensors(each, (*place, key))


def take(content: Any, place: tuple) -> Tensor:
    """The tensor at a place that `tensors` has named."""
    for key in place:
        content = content[key] if isinstance(content, dict | list | tuple) else getattr(content, key)
    return content


class _Padding(TorchFunctionMode):
    """Replaces circular padding by replication, which is one operation and leaves the axes the same."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") == "pad":
            args = tuple("replicate" if isinstance(value, str) and value == "circular" else value for value in args)
            kwargs = {key: "replicate" if value == "circular" else value for key, value in (kwargs or {}).items()}
        return func(*args, **(kwargs or {}))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, nothing compiled, and every module's own mode again afterwards."""
    training = [module for module in model.modules() if module.training]
    compiles = "torch._dynamo" in sys.modules  # which takes seconds to load
    model.eval()
    try:
        with torch.compiler.set_stance("force_eager") if compiles else nullcontext():
            yield
    finally:
        for module in training:
            module.training = True


def readable(model: Any) -> nn.Module:
    """The network whose modules can be read: of a compiled one, the one that it was made of.

    Raises:
        UserError: it is a function, or was scripted, traced or exported.
    """
    model = getattr(model, "_orig_mod", model)
    kind = type(model).__name__
    if not isinstance(model, nn.Module) and not isinstance(model, torch.export.ExportedProgram):
        raise UserError(f"model: needs a torch.nn.Module, this is a {kind}")
    graph = isinstance(model, torch.fx.GraphModule) and not any(
        node.op == "call_module" and "_guards" not in str(node.target) for node in model.graph.nodes
    )
    if isinstance(model, torch.export.ExportedProgram | torch.jit.ScriptModule) or graph:
        raise UserError(f"model: a {kind} has no modules to read: give the network that it was made of")
    return model


@torch.no_grad()
def record(model: nn.Module, image: Tensor) -> Record:
    """Run the network once, in evaluation mode, on two copies of an image (c, h, w), and record what happens.

    Raises:
        UserError: the output cannot be traced back to the image.
    """
    images = torch.stack([image, image])
    n, c, h, w = images.shape
    flow, stack = _Flow(), [Call("", model, 0, 0, [])]
    counts: dict[str, int] = {}
    known = [Atom("n", 1, n), Atom("c", 0, c), Atom("h", 1.0, h), Atom("w", 1.0, w)]
    flow.enter(images, set(), tuple(Axis((atom,)) for atom in known))

    def values(content: Any) -> list[Value]:
        known = [(place, t, flow.node(t)) for place, t in tensors(content) if not _mapped(t)]
        return [Value(place, n, flow.axes(t), tuple(t.shape)) for place, t, n in known if n is not None]

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
        call.mapped = any(_mapped(t) for _, t in tensors(output))
        if not call.outputs and not call.children and not call.mapped:
            stack[-1].children.pop()  # as for a weight that is computed: it does not depend on the image

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(before(name), with_kwargs=True))
        handles.append(module.register_forward_hook(after))
    try:
        # below autograd, operations come whole, and what a network keeps for later passes is an ordinary tensor
        with evaluating(model), _Padding(), torch._C._AutoDispatchBelowAutograd(), flow:
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    root = stack[0].children[0] if stack[0].children else None
    if root is None or not root.outputs:
        raise UserError(f"{type(model).__name__} cannot be measured: its output cannot be traced back to the image")
    logits = _logits(root.outputs, n, flow.sources)
    ends = [logits] if logits else root.outputs
    nodes = frozenset().union(*(trunk(flow.sources, end.node) for end in ends))
    return Record(root, logits, nodes, frozenset(flow.products), flow.functions, flow.sources)


def _mapped(tensor: Tensor) -> bool:
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def _logits(outputs: list[Value], images: int, sources: list[set[int]]) -> Value | None:
    """The output; of several, the one called logits or out, or the first with one row per image.

    Of features and of logits that are computed from them it is the logits.
    """
    named = [value for value in outputs if value.place and value.place[-1] in ("logits", "out")]
    rows = [value for value in outputs if len(value.shape) == 2 and value.shape[0] == images]
    passed = set().union(*(_before(value.node, sources) for value in rows))
    alone = outputs if len(outputs) == 1 else []
    return next(iter(named + [value for value in rows if value.node not in passed] + alone), None)


def _before(node: int, sources: list[set[int]]) -> set[int]:
    """All nodes that a node was computed from."""
    found: set[int] = set()
    new = sources[node]
    while new:
        found |= new
        new = set().union(*(sources[each] for each in new)) - found
    return found


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
