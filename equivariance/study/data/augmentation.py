"""Augmentations of training images, each image by its own draw.

All chance lies in one row of numbers, uniform in [0, 1), for each image, drawn on the CPU for a whole epoch; an
augmentation is a function of uint8 pixels, on any device, and of these numbers. So the images are the same however
many are augmented at once, and a checkpoint that holds the numbers goes on with the same images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import Tensor

from equivariance.errors import UserError, reason

OPERATIONS, MAGNITUDES = 14, 31  # of RandAugment


class ImageAugmentation(Protocol):
    """Images uint8 (n, c, h, w) to images of the same shape; `draws` is float32 (n, numbers), on the CPU."""

    numbers: int

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor: ...


class Augmentation:
    """What a run does to its training images: augmentations of single images in order, then CutMix, if any."""

    def __init__(self, images: Sequence[ImageAugmentation] = (), cutmix: "CutMix | None" = None):
        self.images, self.cutmix = images, cutmix

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniform numbers in [0, 1) for `count` images: (count, numbers of all augmentations), on the CPU."""
        numbers = sum(augmentation.numbers for augmentation in self.images)
        return torch.rand(count, numbers + (CutMix.numbers if self.cutmix else 0), generator=generator)

    def augment(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Every augmentation but CutMix. Any number of images; the more, the less it costs for each."""
        start = 0
        for augmentation in self.images:
            pixels = augmentation(pixels, draws[:, start : start + augmentation.numbers])
            start += augmentation.numbers
        return pixels

    def mix(self, pixels: Tensor, labels: Tensor, draws: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """CutMix within one batch, `draws` on its device: pixels, and labels as (n, classes).

        Without CutMix, both as they came.
        """
        if not self.cutmix:
            return pixels, labels
        return self.cutmix(pixels, labels, draws[:, -CutMix.numbers :], classes)


def build(cfg: Mapping[str, Any]) -> Augmentation:
    """The augmentations that the configuration group `aug` lists, in its order; CutMix comes last."""
    built: list[Any] = []
    for key in [key for key in cfg if key != "name"]:
        try:
            built.append(instantiate(cfg[key]))
        except InstantiationException as error:
            raise UserError(f"aug.{key}: {reason(error.__cause__ or error)}") from error
        if not hasattr(built[-1], "numbers"):
            raise UserError(f"aug.{key}={cfg[key]} is no augmentation; conf/aug/crop.yaml shows one")
    mixes = [augmentation for augmentation in built if isinstance(augmentation, CutMix)]
    return Augmentation([one for one in built if one not in mixes], mixes[0] if mixes else None)


@dataclass(frozen=True)
class Crop:
    """A window of the image's size in the image framed by zeros (black), every place equally likely.

    Args:
        padding: pixels of the frame on each side.
    """

    padding: int = 4
    numbers: ClassVar[int] = 2

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        height, width = pixels.shape[2:]
        top, left = (draws * (2 * self.padding + 1)).long().to(pixels.device).unbind(1)
        windows = F.pad(pixels, [self.padding] * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view
        return windows[torch.arange(len(pixels), device=pixels.device), :, top, left]


@dataclass(frozen=True)
class Flip:
    """The mirror image, left and right exchanged.

    Args:
        probability: in [0, 1].
    """

    probability: float = 0.5
    numbers: ClassVar[int] = 1

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        flipped = (draws < self.probability).to(pixels.device)
        return torch.where(flipped[:, :, None, None], pixels.flip(3), pixels)


@dataclass(frozen=True)
class CutMix:
    """A box of each image is that of another one, and the label is mixed as the pixels are.

    Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable features", 2019: the
    share lambda of pixels that stay is uniform in [0, 1), which is Beta(1, 1); the box has sides
    sqrt(1 - lambda) of the image's, its centre lies anywhere, and what falls outside is cut off. The label's
    weights are the exact shares of pixels. As in torchvision, the other image is the one before in the batch;
    unlike there, each image has its own box.

    Args:
        probability: that an image is mixed, in [0, 1].
    """

    probability: float = 0.5
    numbers: ClassVar[int] = 4

    def __call__(self, pixels: Tensor, labels: Tensor, draws: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """One batch: pixels (n, c, h, w) and labels (n,) to pixels and weights of labels (n, classes)."""
        box = self.boxes(pixels.shape[2:], draws)
        mixed = torch.where(box, pixels.roll(1, 0), pixels)
        taken = box.float().mean((1, 2, 3))
        weights = torch.zeros(len(pixels), classes, device=pixels.device)
        both = torch.stack([labels, labels.roll(1)], 1)
        return mixed, weights.scatter_add_(1, both, torch.stack([1 - taken, taken], 1))

    def boxes(self, size: Sequence[int], draws: Tensor) -> Tensor:
        """Where the other image shows: bool (n, 1, h, w), on the device of the draws."""
        use, stay, *centre = draws.unbind(1)

        def inside(length: int, u: Tensor) -> Tensor:
            middle, half = (u * length).int()[:, None], (0.5 * (1 - stay).sqrt() * length).int()[:, None]
            position = torch.arange(length, device=u.device)
            return (position >= middle - half) & (position < middle + half)

        rows, columns = (inside(length, u) for length, u in zip(size, centre, strict=True))
        return (rows[:, :, None] & columns[:, None, :] & (use < self.probability)[:, None, None])[:, None]


@dataclass(frozen=True)
class RandAugment:
    """Operations drawn from a list of fourteen, all of one magnitude; the same may come twice.

    Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space", 2020. List,
    strengths, signs, nearest interpolation and black fill are those of `torchvision.transforms.RandAugment`; but
    all images that drew the same operation and sign pass through it at once.

    Args:
        operations: applied to an image one after the other.
        magnitude: in [0, 30].
    """

    operations: int = 2
    magnitude: int = 9

    @property
    def numbers(self) -> int:
        """Of each operation, which and its sign."""
        return 2 * self.operations

    def __call__(self, pixels: Tensor, draws: Tensor) -> Tensor:
        for operation, sign in draws.T.reshape(-1, 2, len(draws)):
            pixels = self.apply((operation * OPERATIONS).long(), sign < 0.5, pixels)
        return pixels

    def apply(self, operation: Tensor, negative: Tensor, pixels: Tensor) -> Tensor:
        """One operation on each image.

        Args:
            operation: (n,), on the CPU, places in `strengths`.
            negative: bool (n,), on the CPU; without influence where an operation has no sign.
            pixels: uint8 (n, c, h, w), on any device.
        """
        table = strengths(self.magnitude, *pixels.shape[2:])
        signed = torch.tensor([sign for _, sign in table.values()])
        kind = 2 * operation + (negative & signed[operation])
        order = kind.argsort().to(pixels.device)
        groups = pixels[order].split(kind.bincount(minlength=2 * OPERATIONS).tolist())
        done = []
        for index, (name, (strength, _)) in enumerate(table.items()):
            for value, group in zip((strength, -strength), groups[2 * index : 2 * index + 2], strict=True):
                done.append(_operated(group, name, value) if len(group) else group)
        result = torch.empty_like(pixels)
        result[order] = torch.cat(done)
        return result


@cache
def strengths(magnitude: int, height: int, width: int) -> dict[str, tuple[float, bool]]:
    """What a magnitude in [0, 30] means for each operation, and whether its sign is drawn.

    Slopes for ShearX and ShearY, pixels for TranslateX and TranslateY, degrees for Rotate, change of the factor 1
    for Brightness to Sharpness, bits that stay for Posterize, the threshold for Solarize.
    """
    from torchvision.transforms import autoaugment  # here and below, as importing it takes seconds

    table = autoaugment.RandAugment()._augmentation_space(MAGNITUDES, (height, width))
    return {name: (float(each[magnitude]) if each.ndim else 0.0, sign) for name, (each, sign) in table.items()}


def _operated(images: Tensor, name: str, strength: float) -> Tensor:
    from torchvision.transforms import InterpolationMode, autoaugment
    from torchvision.transforms.v2.functional import equalize

    if name == "Equalize":
        return equalize(images)  # the older one, which is meant below, goes through a batch image by image
    return autoaugment._apply_op(images, name, strength, InterpolationMode.NEAREST, None)
