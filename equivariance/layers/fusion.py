"""Compute at once what nobody looks at in between, while a network is measured on a CPU.

A batch norm behind a convolution becomes part of its weights, and an activation behind a convolution or a linear
map is computed with it by oneDNN, before the product has left the cache. The network stays as it is: same modules,
parameters, names and hooks; inside `fused` a few modules compute in another way, and afterwards as ever. Maps and
logits agree with those of the plain way to rounding errors of float32.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equivariance.layers.record import Call, Record
from equivariance.statistics import onednn
from equivariance.statistics.onednn import ACTIVATIONS, NO_ACTIVATION, Attribute


@dataclass(frozen=True)
class Chain:
    """A convolution or linear map and what follows it, each used by the next one alone.

    Attributes:
        product: computes the whole chain while it is fused.
        norm: a batch norm, behind a convolution.
        activation: of `ACTIVATIONS`.
    """

    product: nn.Module
    norm: nn.Module | None = None
    activation: nn.Module | None = None


def find_chains(record: Record, looked_at: Collection[int]) -> list[Chain]:
    """The chains of a network, as far as nobody looks inside, at the nodes `looked_at`."""
    calls = [call for call in record.root.walk() if len(call.outputs) == 1]
    times_called: dict[int, int] = {}
    by_input: dict[int, list[Call]] = {}
    for call in calls:
        times_called[id(call.module)] = times_called.get(id(call.module), 0) + 1
        if len(call.inputs) == 1:
            by_input.setdefault(call.inputs[0].node, []).append(call)

    def follower(call: Call, wanted: Callable[[nn.Module], bool]) -> Call | None:
        """The module that alone uses the output of a call, if it is a wanted one."""
        node = call.outputs[0].node
        if node in looked_at:
            return None
        for each in by_input.get(node, ()):
            only = all(each.start <= use < each.end for use in record.uses.get(node, ()))
            if only and wanted(each.module) and times_called[id(each.module)] == 1 and _is_plain(each.module):
                return each
        return None

    chains = []
    for call in calls:
        kind = type(call.module)
        if kind not in (nn.Conv2d, nn.Linear) or times_called[id(call.module)] > 1 or not _is_plain(call.module):
            continue
        norm = follower(call, _folds) if kind is nn.Conv2d else None
        last = norm or call
        inner = _inner_activation(norm.module) if norm else None
        following = follower(last, _is_activation) if inner is None else None
        activation = inner or (following.module if following else None)
        if kind is nn.Linear or norm or activation:
            chains.append(Chain(call.module, norm.module if norm else None, activation))
    return chains


@contextmanager
def fused(chains: Sequence[Chain]) -> Iterator[None]:
    """Inside, the first module of each chain computes all of it, and the others hand on what they get."""
    replaced: list[tuple[nn.Module, str]] = []

    def replace(module: nn.Module, **attributes: Any) -> None:
        for name, value in attributes.items():  # beside the module's own: it goes before its parameters and methods
            module.__dict__[name] = value
            replaced.append((module, name))

    try:
        for chain in chains:
            if not _computable(chain.product):
                continue
            weight, bias = _folded(chain.product, chain.norm)
            if not all(bool(each.sum().isfinite()) for each in (weight, bias) if each is not None):
                continue  # oneDNN's ReLU makes 0 of NaN, and nobody would see it
            attribute = _attribute(chain.activation)
            if isinstance(chain.product, nn.Conv2d):
                replace(chain.product, weight=weight, bias=bias)
                if chain.activation is not None:
                    replace(chain.product, forward=partial(onednn.convolution, chain.product, attribute))
            else:
                replace(chain.product, forward=partial(_linear, chain.product, attribute))
            for module in (chain.norm, chain.activation):
                if module is not None:
                    replace(module, forward=_unchanged)
        yield
    finally:
        for module, name in replaced:
            del module.__dict__[name]


def _is_plain(module: nn.Module) -> bool:
    """Whether nothing but the module's own class decides what it does: no hook, no patch, no parametrisation."""
    hooks = module._forward_hooks or module._forward_pre_hooks or hasattr(module, "parametrizations")
    return not hooks and "forward" not in vars(module)


def _folds(module: nn.Module) -> bool:
    """Whether it is a batch norm with statistics of its own, and nothing else but perhaps an activation."""
    if not isinstance(module, nn.BatchNorm2d) or module.running_mean is None:
        return False
    return type(module).forward is nn.BatchNorm2d.forward or _inner_activation(module) is not None


def _inner_activation(norm: Any) -> nn.Module | None:
    """The activation inside timm's BatchNormAct2d."""
    timm = sys.modules.get("timm.layers")
    if timm is None or type(norm) is not timm.BatchNormAct2d or not isinstance(norm.drop, nn.Identity):
        return None
    return norm.act if _is_activation(norm.act) and _is_plain(norm.act) else None


def _is_activation(module: nn.Module) -> bool:
    known = type(module).__module__.startswith(("torch.nn.", "timm.layers."))
    return known and type(module).__name__ in ACTIVATIONS


def _attribute(activation: nn.Module | None) -> Attribute:
    if activation is None:
        return NO_ACTIVATION
    name, scalars, algorithm = ACTIVATIONS[type(activation).__name__]
    return name, scalars, getattr(activation, "approximate", algorithm)


def _computable(product: nn.Module) -> bool:
    weight = product.weight
    zeros = not isinstance(product, nn.Conv2d) or (product.padding_mode == "zeros" and product.padding != "same")
    return onednn.is_there() and weight.device.type == "cpu" and weight.dtype == torch.float32 and zeros


def _folded(product: Any, norm: Any) -> tuple[Tensor, Tensor | None]:
    """Weights and bias of a product with the batch norm behind it: w g / s and (b - m) g / s + beta."""
    weight, bias = product.weight, product.bias
    if norm is None:
        return weight, bias
    scale = (norm.running_var + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale if bias is None else (bias - norm.running_mean) * scale
    return weight * scale.view(-1, 1, 1, 1), shift if norm.bias is None else shift + norm.bias


def _linear(module: Any, attribute: Attribute, x: Tensor) -> Tensor:
    if attribute == NO_ACTIVATION and not onednn.is_faster("linear", module.in_features, module.out_features):
        return F.linear(x, module.weight, module.bias)
    return onednn.linear(x, module.weight, module.bias, attribute)


def _unchanged(x: Tensor) -> Tensor:
    return x
