"""How many images, blocks and layers the memory allows, and how finely a batch is cut for the processor's cache."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from equivariance.errors import UserError
from equivariance.layers.find import Layer
from equivariance.statistics.linear import MOST_CHANNELS
from equivariance.statistics.moments import chance_channels

CPU_PIXELS = 2**23  # of a batch with all its copies
MEMORY = 4 * 2**30  # bytes of the statistics of all blocks
CPU_VALUES = 2**18  # compared at a time: 1 MiB, half of a core's second-level cache
GPU_VALUES = 2**23  # likewise: enough to keep one busy, and not too many for sums in float32


def affordable_images(images: int, device: torch.device, image: Tensor, copies: int) -> int:
    """The images of a batch, on a CPU fewer of large ones: there memory that runs out is not refused, it kills."""
    if device.type != "cpu":
        return images
    return min(images, max(2, CPU_PIXELS // (copies * image[0].numel())))


def affordable_blocks(layers: Sequence[Layer], elements: int, blocks: int, fitted: bool = False) -> int:
    """As many blocks of images as asked for, or fewer where their statistics would take more than `MEMORY`."""
    return next((each for each in range(blocks, 1, -1) if memory(layers, elements, each, fitted) <= MEMORY), 1)


def affordable_layers(layers: Sequence[Layer], elements: int) -> tuple[list[Layer], dict[str, str]]:
    """The layers whose statistics of one block take at most `MEMORY`, and why the others are left out."""
    needed = {layer.name: memory([layer], elements, 1) for layer in layers}
    why = "the sums of all pairs of its channels need {:.0f} GiB"
    reasons = {name: why.format(size / 2**30) for name, size in needed.items() if size > MEMORY}
    if layers and len(reasons) == len(layers):
        raise UserError("every layer has too many channels: " + "; ".join(map(": ".join, reasons.items())))
    return [layer for layer in layers if layer.name not in reasons], reasons


def memory(layers: Sequence[Layer], elements: int, blocks: int, fitted: bool = False) -> int:
    """Bytes that the statistics take at the most; `fitted`: with those of `linear`, none of them shared.

    Those of all blocks; while they are filled, those of one layer once more; while scores are computed,
    of one layer the whole, the whole without a block, and its similarities with what computing them takes.
    """
    sizes = [layer.channels * (layer.channels + len(chance_channels(layer.channels))) for layer in layers]
    kept = sum(12 * size for size in sizes)  # float64, and numbers of images in float32
    if fitted:
        kept += sum(8 * layer.channels**2 for layer in layers if layer.channels <= MOST_CHANNELS)
    return elements * blocks * kept + max(sizes, default=0) * max(8 * elements, 40)


def chunks(images: int, channels: int, size: int, most: int = CPU_VALUES) -> Iterator[slice]:
    """Cut a batch so that what is compared at a time suits the processor: on a CPU, fits into its cache.

    Not finer than 16 positions a channel, for the sums have to be read and written as well. Chunks are of even
    size, so that the pairs of the chance level stay together.

    Args:
        size: values of one image's map.
        most: values of a side.
    """
    step = max(most // size, 16 * channels**2 // size, 1)
    step = 2 * math.ceil(step / 2)
    return (slice(first, min(first + step, images)) for first in range(0, images, step))
