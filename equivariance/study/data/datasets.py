"""Data sets as one uint8 tensor of images and one of labels, ready to lie on the device.

Every loader takes a split, "train" or "held_out", and returns `Images`. Those of folders may stay in their files
until they are asked for. Downloads and checksums are torchvision's.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from torch import Tensor

from equivariance.errors import UserError, reason
from equivariance.study.data.classes import imagenet_classes
from equivariance.study.data.image_files import (
    Cover,
    Photographs,
    Pixels,
    Transform,
    class_folders,
    list_files,
    tensor,
)

SPLITS = ("train", "held_out")
SYMMETRIC_DIGITS = (0, 1, 6, 8)  # a turn maps each to itself or to another digit
QUICKSTART = "'make quickstart' needs no data set"


@dataclass(frozen=True)
class Images:
    """A labelled set of images of one size.

    Attributes:
        pixels: uint8 (n, c, h, w), a tensor or `Photographs`.
        labels: int64 (n,), in [0, len(classes)).
        classes: their names.
        mean, std: (c,), what `normalise` subtracts and divides by, for pixels scaled to [0, 1].
    """

    pixels: Pixels
    labels: Tensor
    classes: Sequence[str]
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def to(self, device: torch.device) -> "Images":
        """The same with its tensors on a device; images in files stay where they are."""
        pixels = self.pixels.to(device) if isinstance(self.pixels, Tensor) else self.pixels
        labels, mean, std = (tensor.to(device) for tensor in (self.labels, self.mean, self.std))
        return replace(self, pixels=pixels, labels=labels, mean=mean, std=std)

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (n, c, h, w) to float32 of zero mean and unit deviation over the training set."""
        scale = (1 / (255 * self.std))[:, None, None]
        return pixels * scale - (self.mean / self.std)[:, None, None]

    def choose(self, count: int, seed: int) -> Tensor:
        """Indices of `count` images, a seeded choice; of all of them where there are fewer."""
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count]

    def digest(self, chosen: Tensor | None = None) -> str:
        """Identifies the images and labels, whatever folder they came from; of files, only the chosen ones."""
        content = hashlib.blake2b(digest_size=8)
        labels = self.labels.cpu()
        if isinstance(self.pixels, Photographs):
            chosen = torch.arange(len(self)) if chosen is None else chosen
            content.update(self.pixels.digest(chosen))
            labels = labels[chosen]
        else:
            content.update(self.pixels.cpu().numpy().data)
        content.update(labels.numpy().data)
        return content.hexdigest()


def load(cfg: Mapping[str, Any], split: str, decode: bool = True) -> Images:
    """The split "train" or "held_out" of the data set that the configuration group `dataset` describes.

    Args:
        decode: False leaves the images of folders in their files, see `Photographs`.
    """
    known = {key: value for key, value in cfg.items() if key not in ("name", "mean", "std")}
    pixels, labels, classes = instantiate(known, split=split, _convert_="object")
    if decode and isinstance(pixels, Photographs):
        pixels = pixels.decode()
    channels = pixels.shape[1]
    mean, std = (_one_a_channel(cfg, key, channels) for key in ("mean", "std"))
    return Images(pixels, labels, classes, mean, std)


def load_splits(cfg: Mapping[str, Any]) -> tuple[Images, Images]:
    """Training and held-out images."""
    train, held_out = (load(cfg, split) for split in SPLITS)
    if differing := sorted(set(train.classes) ^ set(held_out.classes)):
        raise UserError(f"the training and held-out images of {cfg['name']} differ in classes {differing[:5]}")
    return train, held_out


def _one_a_channel(cfg: Mapping[str, Any], key: str, channels: int) -> Tensor:
    """`dataset.mean` or `dataset.std`."""
    numbers = list(cfg[key])
    if len(numbers) != channels:
        raise UserError(f"dataset.{key}={cfg[key]}: needs {channels} numbers, one a channel of the images")
    return torch.tensor(numbers, dtype=torch.float32)


Split = tuple[Pixels, Tensor, list[str]]  # pixels uint8 (n, c, h, w), labels int64 (n,), class names


def mnist6(root: str, task: str, download: bool, split: str) -> Split:
    """MNIST (28x28) without 0, 1, 6 and 8: 35,566 training and 5,953 held-out images (the test set)."""
    raw = Path(root) / "MNIST" / "raw"
    prefix = {"train": "train", "held_out": "t10k"}[split]
    files = [raw / f"{prefix}-images-idx3-ubyte", raw / f"{prefix}-labels-idx1-ubyte"]
    layouts = f"{raw}/{{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte"
    mnist = _of_torchvision("MNIST", root, split, download, files, layouts)
    return _digit_task(mnist.data[:, None], mnist.targets, task)


def digits6(task: str, split: str) -> Split:
    """scikit-learn's 8x8 digits (Alpaydin & Kaynak 1998) without 0, 1, 6, 8, enlarged to 20x20 in a 28x28 frame.

    The frame is MNIST's. The first three quarters are for training: 811 and 271 images, by different writers.
    """
    from sklearn.datasets import load_digits

    bundle = load_digits()
    small = torch.from_numpy(bundle.images).float()[:, None] * (255 / 16)
    framed = F.pad(F.interpolate(small, size=20, mode="bilinear"), [4] * 4).round().byte()
    pixels, labels, classes = _digit_task(framed, torch.from_numpy(bundle.target).long(), task)
    cut = len(labels) * 3 // 4
    part = slice(cut) if split == "train" else slice(cut, None)
    return pixels[part], labels[part], classes


def cifar10(root: str, download: bool, split: str) -> Split:
    """CIFAR-10: 50,000 training and 10,000 held-out colour images of 32x32.

    Read from torchvision's folder `cifar-10-batches-py`, or from class folders `cifar10/{train,test}/CLASS/*.png`.
    """
    folder = Path(root) / "cifar10" / {"train": "train", "held_out": "test"}[split]
    official = Path(root) / "cifar-10-batches-py"
    if folder.is_dir():
        classes = class_folders(folder)
        files, labels = list_files(folder, classes)
        return Photographs(files, tensor, (32, 32)).decode(), labels, classes
    layouts = f"{official}/ or {Path(root)}/cifar10/{{train,test}}/CLASS/*.png"
    cifar = _of_torchvision("CIFAR10", root, split, download, [official / "batches.meta"], layouts)
    pixels = torch.from_numpy(cifar.data).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.tensor(cifar.targets), cifar.classes


def image_folder(root: str, size: int | list[int], split: str, transform: Transform | None = None) -> Split:
    """Class folders ROOT/train/CLASS/* and ROOT/val/CLASS/* (or test/), as RGB of `size` pixels.

    As with torchvision's ImageFolder, transparency and the turn that EXIF asks for are ignored.

    Args:
        transform: an RGB image to uint8 (3, h, w); None: `image_files.Cover`.
    """
    folder = _split_folder(root, split)
    classes = class_folders(folder)
    files, labels = list_files(folder, classes)
    height, width = size if isinstance(size, list) else (size, size)
    return Photographs(files, transform or Cover((height, width)), (height, width)), labels, classes


def imagenet(root: str, size: int | list[int], split: str, transform: Transform | None = None) -> Split:
    """As `image_folder`, with folders named as in ImageNet: n01440764.

    The label is the class's place among its 1000, of which not all need to be there.
    """
    pixels, labels, there = image_folder(root, size, split, transform)
    known = imagenet_classes()
    strange = [name for name in there if name not in known]
    if strange:
        named = ", ".join(strange[:3]) + (f" and {len(strange) - 3} more" if len(strange) > 3 else "")
        raise UserError(
            f"{_split_folder(root, split)} holds folders that are no class of ImageNet, such as n01440764: "
            f"{named}; dataset=image_folder dataset.root={root} takes any names"
        )
    places = torch.tensor([known.index(name) for name in there])
    return pixels, places[labels], known


def _split_folder(root: str, split: str) -> Path:
    names = ("train",) if split == "train" else ("val", "test")
    folder = next((Path(root) / name for name in names if (Path(root) / name).is_dir()), None)
    if folder is None:
        looked = " and ".join(str(Path(root) / name) for name in names)
        raise UserError(
            f"no images: looked for {looked}; put them as class folders, {Path(root) / names[0]}/CLASS/*.png, "
            f"or say where they are with dataset.root=FOLDER; {QUICKSTART}"
        )
    return folder


def _digit_task(pixels: Tensor, digits: Tensor, task: str) -> tuple[Tensor, Tensor, list[str]]:
    """Leave the symmetric digits out; for the rotated tasks, turn each image once, by a fixed random choice."""
    keep = torch.isin(digits, torch.tensor(SYMMETRIC_DIGITS), invert=True)
    pixels, digits = pixels[keep], digits[keep]
    names = [str(digit) for digit in range(10) if digit not in SYMMETRIC_DIGITS]
    labels = torch.searchsorted(torch.tensor([int(name) for name in names]), digits)
    if task == "upright":
        return pixels, labels, names
    turns = torch.randint(4, labels.shape, generator=torch.Generator().manual_seed(0))
    for turn in (1, 2, 3):
        pixels[turns == turn] = pixels[turns == turn].rot90(turn, (2, 3))
    if task == "invariant":
        return pixels, labels, names
    if task == "equivariant":
        names = [f"{name} turned {90 * turn}" for name in names for turn in range(4)]
        return pixels, 4 * labels + turns, names
    raise UserError(f"dataset.task={task}: choose upright, invariant or equivariant")


def _of_torchvision(name: str, root: str, split: str, download: bool, files: list[Path], layouts: str) -> Any:
    """A split of one of torchvision's data sets; it is downloaded where these files of it are not there."""
    import torchvision.datasets  # here, as importing it takes seconds

    there = all(file.exists() for file in files)
    try:
        return getattr(torchvision.datasets, name)(root, train=split == "train", download=download and not there)
    except (AssertionError, EOFError, OSError, RuntimeError, ValueError) as error:
        folder = files[0].parent
        if there:
            what = "a file is missing or damaged; delete the folder to download it again"
            raise UserError(f"{folder}: {what}") from error
        problem = f"the download failed ({reason(error)})" if download else "dataset.download=false"
        raise UserError(
            f"{name} is not in {folder} and {problem}; put it there as {layouts}, or name the folder that "
            f"holds it with data_dir=FOLDER; with internet access torchvision downloads it; {QUICKSTART}"
        ) from error
