"""The blocks of a network, found in the record of one forward pass.

The trunk is what all data pass through; a layer is a module whose output lies on it. A block is the outermost
module that does more than run its parts in series: inside it, data also flow beside the trunk (a shortcut,
branches, attention). Modules of the same class, or in the same place of their stage (`blocks.#.#`), are blocks too,
so that a block without a shortcut counts like its neighbours. Modules that run their parts in series are opened:
networks, stages, `nn.Sequential`. There remain convolutions and linear maps in series. Each of them, with the
normalisation and non-linearity behind it, is one layer: the stem, or every layer of a plain network.

In the end the calls are gone through once more: what puts out a map, and is no part of a layer, is left out with
the reason.
"""

import math
import re
from collections.abc import Iterator

from torch import nn

from equivariance.layers.record import Call, Record, Value

BESIDE = "not all data pass through its output"
NO_LAYER = "no block, convolution or linear map: it pools, normalises or reorders what a layer puts out"


def find_blocks(record: Record) -> tuple[list[Call], dict[str, str]]:
    """The calls whose outputs are measured, in order; and the names of those left out, with the reason."""
    tree = _Tree(record)
    units, left_out = tree.units()
    blocks = [i for i, unit in enumerate(units) if len(unit) == 1 and tree.is_block(unit[0])]
    plain = len(blocks) <= len(units) // 2  # its layers are its blocks
    kept = []
    for i, unit in enumerate(units):
        if not plain and i < blocks[0] - 1:
            left_out[tree.whole(unit).title] = "inside the stem"
        elif not plain and blocks[0] < i < blocks[-1] and i not in blocks:
            left_out[tree.whole(unit).title] = "leads from one block to the next"
        else:
            kept.append(tree.whole(unit))
    accounted = {id(each) for call in [*kept, *(call for unit in units for call in unit)] for each in call.walk()}
    tree.account(record.root, accounted, left_out)
    return kept, left_out


def classifier(record: Record) -> Call | None:
    """The last linear map, whose output is the logits (of one head, where a network averages several)."""
    per_image = [s for s in record.logits.shape[1:] if s > 1] if record.logits else None
    found = None
    for call in record.root.walk():
        alike = [value for value in call.outputs if [s for s in value.shape[1:] if s > 1] == per_image]
        linear = alike and not call.children and record.holds_product(call)
        if linear and (alike[0].node in record.trunk or found is None):
            found = call
    return found


def is_headless(record: Record) -> bool:
    """Whether the network has no classifier: its output is features, and no logits.

    It says so (`num_classes` is 0, as in timm); or the output is a flattened map; or the last matrix or filter
    works beside the trunk inside a block, so that what the block puts out is at most pooled and normalised. A
    projection behind the blocks, or the last layer of a network without blocks, cannot be told from a classifier.
    """
    if getattr(record.root.module, "num_classes", None) == 0:
        return True
    if record.logits is None or has_positions(record.logits):
        return record.logits is not None and len(record.logits.shape) == 2
    last = max(record.products, default=0)
    inside = [call for call in record.root.walk() if call.start <= last < call.end]
    return last not in record.trunk and any(map(_Tree(record).goes_beside, inside))


def has_positions(value: Value) -> bool:
    """Whether a tensor has several positions, or axes that are not known."""
    if value.axes is None:
        return len(value.shape) > 2
    return any(axis.positions and axis.inner > 1 for axis in value.axes)


class _Tree:
    """The tree of calls of a record."""

    def __init__(self, record: Record):
        self.record = record
        self.parents = {id(child): call for call in record.root.walk() for child in call.children}
        blocks = [call for call in record.root.walk() if self.goes_beside(call)]
        self.own = {id(call) for call in blocks}
        inside = [each for call in blocks for child in call.children for each in child.walk()]
        self.parts = {type(each.module) for each in inside}  # of a block: none by themselves
        self.classes = {type(call.module) for call in blocks}
        self.places = {_place(call) for call in blocks}

    def value(self, call: Call) -> Value | None:
        """The call's output on the trunk; None if it has none that it computed itself."""
        computed = (value for value in call.outputs if value.node >= call.start)
        return next((value for value in computed if value.node in self.record.trunk), None)

    def has_map(self, call: Call) -> bool:
        """Whether the output on the trunk has positions; also where its axes are unknown."""
        value = self.value(call)
        return value is not None and (value.axes is None or any(axis.positions for axis in value.axes))

    def is_block(self, call: Call) -> bool:
        if id(call) in self.own:
            return True
        alike = type(call.module) in self.classes or _place(call) in self.places
        inner = sum(id(each) in self.own and type(each.module) not in self.parts for each in call.walk())
        mixing = self.record.holds_product(call)
        return bool(alike and call.children and inner <= 1 and self.has_map(call) and mixing)

    def units(self) -> tuple[list[list[Call]], dict[str, str]]:
        """The layers in order, each as its calls (a block is one call); and what is left out, with reasons."""
        units: list[list[Call]] = []
        left_out: dict[str, str] = {}
        open_layer = False
        for call in self._opened(self.record.root):
            if self.value(call) is None:
                left_out[call.title] = BESIDE
            elif not self.has_map(call):
                open_layer = False
            elif self.is_block(call):
                units.append([call])
                open_layer = False
            elif self.record.holds_product(call, call.children):
                units.append([call])
                open_layer = True
            elif open_layer and _extent(self.value(call)) == _extent(self.value(units[-1][-1])):
                if not isinstance(call.module, nn.Identity | nn.Dropout):
                    units[-1].append(call)
            else:
                open_layer = False
        self.members = [[id(call) for call in unit] for unit in units]
        return units, left_out

    def account(self, parent: Call, accounted: set[int], left_out: dict[str, str]) -> None:
        """Add to `left_out` every module below `parent` that puts out a map and is no part of `accounted` ones."""
        for call in parent.children:
            if id(call) in accounted or call.title in left_out:
                continue
            known = any(id(each) in accounted or each.title in left_out for each in call.walk())
            if call.mapped:
                left_out[call.title] = "it runs inside torch.vmap or torch.func, where maps have no axis of images"
            elif not known and _puts_out_map(call):
                left_out[call.title] = BESIDE if self.value(call) is None else NO_LAYER
            else:
                self.account(call, accounted, left_out)

    def whole(self, unit: list[Call]) -> Call:
        """The outermost module that holds only this layer names it."""
        call = unit[-1]
        if self.is_block(call):
            return call
        while (parent := self.parents.get(id(call))) is not None and parent is not self.record.root:
            inside = {id(each) for each in parent.walk()}
            held = [members for members in self.members if inside.intersection(members)]
            if len(held) > 1 or not inside.issuperset(held[0]) or not self.has_map(parent):
                break
            call = parent
        return call

    def _opened(self, call: Call) -> Iterator[Call]:
        """The calls of blocks and single modules, in order; what runs its parts in series is opened."""
        for child in call.children:
            if child.outputs and self.value(child) is None:
                if any(self.value(each) for each in child.walk()):  # the trunk runs through its parts
                    yield from self._opened(child)
                elif child.has_parameters:
                    yield child
            elif child.outputs:
                if not child.children or not self.record.holds_product(child) or self.is_block(child):
                    yield child
                else:
                    yield from self._opened(child)

    def goes_beside(self, call: Call) -> bool:
        """Whether it puts out one map, and parts of it with parameters put out data beside the trunk."""
        ends = {value.node for value in call.outputs if value.node >= call.start} & self.record.trunk
        beside = (child for child in call.children if child.outputs and self.value(child) is None)
        return len(ends) == 1 and self.has_map(call) and any(child.has_parameters for child in beside)


def _puts_out_map(call: Call) -> bool:
    """Whether it has computed something with several positions, or with axes that are not known."""
    return any(has_positions(value) for value in call.outputs if value.node >= call.start)


def _place(call: Call) -> str:
    return re.sub(r"\d+", "#", call.name)


def _extent(value: Value | None) -> list:
    """The positions of a map, and how many entries it has."""
    if value is None:
        return []
    places: list = [axis.atoms for axis in value.axes if axis.positions] if value.axes else [value.shape]
    return [*places, math.prod(value.shape)]
