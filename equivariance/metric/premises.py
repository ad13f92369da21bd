"""What the measure takes for granted of a network, checked once on a few images before the first batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.layers.find import Layer, tap
from equivariance.layers.record import evaluating, take

SMALL = 1e-10  # channels below it, and above its reciprocal, are scaled: squares in float32 end at 1e-38 and 1e38
RANDOM = "{} gives other maps of the same images each time, from layer {} on: make its dropout heed self.training"
OTHERS = (
    "{}: the maps of an image depend on the other images of its batch, from layer {} on: is a batch norm without "
    "running statistics, or kept in training mode?"
)
FEWER = "layer {} has maps of {} of {} images: leave it out"


class Probe(NamedTuple):
    """What is known of a network from a few images.

    Attributes:
        scales: factors (c,), powers of two, for layers some of whose channels are so small or large that their
            squares would leave float32; no score depends on them.
        magnitudes: by layer, the mean absolute value of its maps of one random image, the same for all networks.
        classes: how many logits there are, None where the output is none.
    """

    scales: dict[str, Tensor]
    magnitudes: dict[str, float]
    classes: int | None


def probe(model: nn.Module, layers: Sequence[Layer], logits: tuple | None, images: Tensor, prepare: Any) -> Probe:
    """Run a network on an image alone and among others, and twice.

    Args:
        logits: where they lie in the output, see `logits_of`.
        images: (1, c, h, w).
        prepare: what the images go through before the network, see `transforms.preparation`.

    Raises:
        UserError: the maps are not the same each time.
    """
    if images.is_floating_point():
        random = torch.randn(2, *images.shape[1:], generator=torch.Generator().manual_seed(0)).to(images)
    else:
        random = torch.cat([images.flip(3), images.flip(2)])
    few, many = (prepare(torch.cat([images, random[:1], *others])) for others in ((), (3 * random[1:],)))
    tolerance = 0.1 if images.dtype in (torch.float16, torch.bfloat16) else 0.01
    first: dict[str, Tensor] = {}
    differing: list[str] = []

    classes = set()

    def receive(name: str, maps: Tensor) -> None:
        if len(maps) != len(batch):
            raise UserError(FEWER.format(name, len(maps), len(batch)))
        if name not in first:
            first[name] = maps.clone()  # what follows may overwrite them
        before, now = first[name][:2], maps[:2]
        if now.shape != before.shape or (now - before).abs().max() > tolerance * before.abs().max():
            differing.append(name)

    for batch, fault in ((few, RANDOM), (few, RANDOM), (many, OTHERS)):
        with evaluating(model), tap(layers, receive):
            output = logits_of(model(batch), logits, len(batch))
        classes.add(None if output is None else output.shape[1])
        if output is not None and all(layer.name != "final" for layer in layers):
            receive("final", output)
        if differing:
            raise UserError(fault.format(type(model).__name__, differing[0]))
    scales, magnitudes = {}, {}
    for name, maps in first.items():
        largest = maps[-1].detach().abs().flatten(1).amax(1) if maps.ndim > 2 else maps[-1].abs()
        if images.is_floating_point():  # whole numbers come of the first image, which differs between metrics
            magnitudes[name] = largest.double().mean().item()
        far = (largest > 0) & largest.isfinite() & ((largest < SMALL) | (largest > 1 / SMALL))
        if far.any():
            power = largest.double().log2().round().clamp(-126, 126)
            scales[name] = torch.where(far, 2.0**-power, 1).to(torch.promote_types(maps.dtype, torch.float32))
    return Probe(scales, magnitudes, classes.pop() if len(classes) == 1 else None)  # by chance, boxes are as many


@contextmanager
def kept_buffers(model: nn.Module) -> Iterator[None]:
    """Inside, the network may run; afterwards its buffers are as before.

    Raises:
        UserError: they had changed.
    """
    before = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    changed = []
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                old = before.get(name, buffer)
                if old.shape == buffer.shape and not torch.allclose(old, buffer, 0, 0, equal_nan=True):
                    buffer.copy_(old)
                    changed.append(name)
    if changed:
        raise UserError(
            f"{type(model).__name__}: a forward pass in evaluation mode changes its buffer {changed[0]}, so "
            "measuring would change the network: is a batch norm kept in training mode?"
        )


def logits_of(output: Any, place: tuple | None, images: int) -> Tensor | None:
    """The logits (n, classes) at a place of an output; None where there are none, or not of all images."""
    try:
        found = None if place is None else take(output, place)
    except (LookupError, AttributeError):  # another output than the one that was recorded
        return None
    rows = isinstance(found, Tensor) and found.ndim == 2 and len(found) == images and found.is_floating_point()
    return found if rows else None
