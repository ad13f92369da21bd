"""Products of float32 matrices and convolutions by oneDNN, which PyTorch carries, with an activation behind them.

The operations are those that compiled code reaches. They are not part of PyTorch's public API: `is_there` says
whether they can be used, and everybody who uses them has another way.
"""

import time
from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLEARLY = 1.5  # times as fast: so that which library computes a product does not change from run to run

Attribute = tuple[str, list[float], str]  # an activation, as oneDNN's operations take it
NO_ACTIVATION: Attribute = ("none", [], "")
ACTIVATIONS: dict[str, Attribute] = {  # by name of PyTorch's and of timm's classes
    "ReLU": ("relu", [], ""),
    "ReLU6": ("hardtanh", [0.0, 6.0], ""),
    "SiLU": ("swish", [], ""),
    "Swish": ("swish", [], ""),
    "Hardswish": ("hardswish", [], ""),
    "HardSwish": ("hardswish", [], ""),
    "GELU": ("gelu", [], "none"),
    "GELUTanh": ("gelu", [], "tanh"),
}


@cache
def is_there() -> bool:
    """Whether this PyTorch has the operations."""
    names = ("_convolution_pointwise", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


def convolution(module: nn.Conv2d, activation: Attribute, x: Tensor) -> Tensor:
    """The activation of what a convolution with zeros around the maps makes of x (n, c, h, w)."""
    settings = module.padding, module.stride, module.dilation, module.groups
    return torch.ops.mkldnn._convolution_pointwise(x, module.weight, module.bias, *settings, *activation)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Attribute = NO_ACTIVATION) -> Tensor:
    """The activation of x W^T + b, x being (..., inner) and the weight W (outer, inner)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *activation)


def add_product(sums: Tensor, a: Tensor, b: Tensor, weight: float = 1.0) -> None:
    """Add weight * a^T b to sums (c, k), for values (positions, c) and (positions, k), by the faster library."""
    if a.device.type == "cpu" and a.dtype == torch.float32 and is_faster("sums", a.shape[1], b.shape[1]):
        sums.add_(linear(a.mT, b.mT, None), alpha=weight)
    else:
        sums.addmm_(a.mT, b, alpha=weight)


@cache
def is_faster(product: str, inner: int, outer: int) -> bool:
    """Whether oneDNN multiplies float32 matrices clearly faster on this processor than PyTorch's default library.

    That one leaves half of the AVX-512 of some processors unused. Measured once a process for each size, in a few
    milliseconds. Below 64 channels memory is the limit, not the product.

    Args:
        product: "linear" for x W^T with W (outer, inner), "sums" for a^T b with (inner, outer) entries.
    """
    if not is_there() or min(inner, outer) < 64:
        return False
    return _is_faster(product, min(1 << inner.bit_length() - 1, 1024), min(1 << outer.bit_length() - 1, 1024))


@cache
def _is_faster(product: str, inner: int, outer: int) -> bool:
    rows = max(64, 2**25 // (inner * outer))
    ways: tuple[Callable[[], Tensor], Callable[[], Tensor]]
    if product == "linear":
        x, weight = torch.ones(rows, inner), torch.ones(outer, inner)
        ways = partial(F.linear, x, weight), partial(linear, x, weight, None)
    else:
        a, b = torch.ones(rows, inner), torch.ones(rows, outer)
        ways = partial(torch.mm, a.mT, b), partial(linear, a.mT, b.mT, None)
    best = [float("inf")] * len(ways)
    for _ in range(5):
        for index, way in enumerate(ways):
            began = time.perf_counter()
            way()
            best[index] = min(best[index], time.perf_counter() - began)
    return best[1] * CLEARLY < best[0]
