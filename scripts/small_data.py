"""A data folder of few images, with which everything runs in minutes; see `reproduce.py --tiny`.

    python scripts/small_data.py FOLDER DATA_DIR

Writes 50 training and 50 held-out images of CIFAR-10 and of MNIST without symmetric digits, from DATA_DIR or
downloaded there. All else in it, such as `imagenet` and `public`, is linked.
"""

import shutil
import struct
from pathlib import Path

from equivariance.study.cli import command_line

IMAGES = 50
FILES = {"train": ("train", "train"), "held_out": ("test", "t10k")}  # names of the splits in the two data sets


def main(folder: str, data_dir: str) -> None:
    target, source = Path(folder), Path(data_dir)
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for split, (cifar, mnist) in FILES.items():
        write_cifar10(unfinished / "cifar10" / cifar, source, split)
        write_mnist(unfinished / "MNIST/raw", source, split, mnist)
    for entry in source.resolve().iterdir():
        if entry.name not in ("cifar10", "cifar-10-batches-py", "MNIST"):
            (unfinished / entry.name).symlink_to(entry)
    unfinished.rename(target)
    print(f"{IMAGES} images of each data set and split in {target}")


def write_cifar10(folder: Path, source: Path, split: str) -> None:
    """The first images of each class as PNG in class folders."""
    from PIL import Image

    from equivariance.study.data.datasets import cifar10  # here and below, as importing torch takes seconds

    pixels, labels, classes = cifar10(str(source), True, split)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in (labels == label).nonzero()[: IMAGES // len(classes), 0].tolist():
            Image.fromarray(pixels[index].permute(1, 2, 0).numpy()).save(folder / name / f"{index}.png")


def write_mnist(folder: Path, source: Path, split: str, prefix: str) -> None:
    """The first images as IDX files: a magic number, the dimensions (big-endian int32), bytes."""
    from equivariance.study.data.datasets import mnist6

    pixels, labels, digits = mnist6(str(source), "upright", True, split)
    folder.mkdir(parents=True, exist_ok=True)
    images = pixels[:IMAGES, 0].numpy()
    chosen = bytes(int(digits[label]) for label in labels[:IMAGES].tolist())
    head = struct.pack(">4i", 0x803, *images.shape)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(head + images.tobytes())
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, len(chosen)) + chosen)


if __name__ == "__main__":
    command_line(main)
