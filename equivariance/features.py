"""The only hooks: which feature maps a network has, their strides, and a tap on them during a forward pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

PARTS = ("early", "middle", "late", "pool", "final")


@dataclass(frozen=True)
class Layer:
    """A measured layer.

    Attributes:
        name: as the network calls it; `pool` and `final` are the globally pooled features and the logits.
        index: its place in the network, from 0.
        part: early, middle or late third of the layers before pooling; pool; final.
        module: its output is the feature map (n, c, h, w), or (n, c) behind global pooling.
        channels: c.
        size: (h, w); (1, 1) behind global pooling.
        stride: pixels of the image per position of the map; None for a map whose stride is not defined.
    """

    name: str
    index: int
    part: str
    module: nn.Module
    channels: int
    size: tuple[int, int]
    stride: float | None


def find_layers(model: nn.Module, image: Tensor) -> list[Layer]:
    """The layers that `model.feature_layers()` names, with shapes and strides for an image (c, h, w).

    The stride is the number of pixels by which the image must grow for the map to grow by one: it is found by
    running the network at two sizes. Unlike the ratio of the sizes, this is right without padding too.
    """
    modules = model.feature_layers()
    grow = 64
    shapes = _shapes(model, modules, image)
    larger = _shapes(model, modules, nn.functional.pad(image, [0, grow, 0, grow]))
    blocks = [name for name in modules if name not in PARTS]
    parts = {name: part for part, third in zip(PARTS, np.array_split(blocks, 3), strict=False) for name in third}
    layers = []
    for index, (name, module) in enumerate(modules.items()):
        _, channels, *size = shapes[name]
        growth = larger[name][-1] - size[-1] if size else 0
        stride = grow / growth if growth else None
        layers.append(Layer(name, index, parts.get(name, name), module, channels, tuple(size or (1, 1)), stride))
    return layers


@contextmanager
def tap(modules: dict[str, nn.Module], receive: Callable[[str, Tensor], None]) -> Iterator[None]:
    """While inside, call `receive(name, output)` at every forward pass of each module; nothing is kept."""

    def hook(name: str) -> Callable:
        return lambda _module, _inputs, output: receive(name, output)

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def _shapes(model: nn.Module, modules: dict[str, nn.Module], image: Tensor) -> dict[str, torch.Size]:
    shapes: dict[str, torch.Size] = {}
    was_training = model.training
    model.eval()
    with tap(modules, lambda name, output: shapes.__setitem__(name, output.shape)):
        model(image[None])
    model.train(was_training)
    return shapes
