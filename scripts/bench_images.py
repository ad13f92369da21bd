"""Does a network wait for its images? Images/s that are decoded, and images/s that are measured.

    python scripts/bench_images.py [--root FOLDER] [--models lcnet_050 ...] [--threads 2] [--batch 32] [--seconds 5]

First photographs from their files to tensors, by each library's evaluation transform, in 1, 2, 4, ... processes, as
many as there are cores. Then networks of timm, each with its own transform, the images and three quarter turns of
each: images/s that all processes decode for it; that are measured where they lie decoded in memory; and both at
once, as measure.py does it, with the share of that time that it waited for images. On a CPU both share the cores.

The photographs are FOLDER/val/CLASS/*, over and over, so that they come from memory and not from the disk; or the
two that come with scikit-learn, as JPEG files of 500x375, the size of many of ImageNet's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hydra import compose, initialize_config_dir
from joblib import cpu_count
from omegaconf import DictConfig

import equivariance as eq
from equivariance.errors import UserError
from equivariance.study.checkout import CONF

if TYPE_CHECKING:
    import torch
    from torch import nn

    from equivariance.study.data.datasets import Images
    from equivariance.study.data.image_files import Photographs, Stream
    from equivariance.study.training.hardware import Hardware

SIZES = (224, 600)
NETWORKS = ("lcnet_050", "resnet50", "tf_efficientnet_b7")  # of timm: one of its fastest, a usual one, a slow one
MANY = 10**5  # images: more than will be asked for
TURNS = [90, 180, 270]


def main(root: Path, names: list[str], hardware: Hardware, batch: int, seconds: float) -> None:
    """Print both tables."""
    import torch  # here and below, as it takes seconds that --help does not need

    from equivariance.metric.memory import affordable_images
    from equivariance.study import models

    cores = cpu_count()
    shares = [cores >> halvings for halvings in reversed(range(cores.bit_length()))]  # of the cores: 1, 2, ... all
    print(f"{hardware.name}; {cores} cores\n{'decoded images/s':22s}", end="")
    print("".join(f"{n:3d} proc." for n in shares))
    for library in ("timm", "torchvision"):
        for size in SIZES:
            images, _ = photographs(root, library, "resnet50", size)
            sources = [stream(images.pixels, batch, cores // n) for n in shares]
            rates = [pace(decoded(source, batch), source, seconds)[0] for source in sources]
            print(f"{f'{library}, {size} pixels':22s}" + "".join(f"{found:9.1f}" for found in rates), flush=True)

    print(f"\n{'images/s':22s} pixels   decoded  measured      both   waiting")
    for name in names:
        images, cfg = photographs(root, "timm", name)
        image = images.normalise(images.pixels[0])
        size = affordable_images(batch, hardware.device, image, 1 + len(TURNS))
        model = hardware.place(
            models.build(models.untrained(cfg), images.pixels.shape[1:], images.num_classes)
        ).eval()
        images = images.to(hardware.device)
        lying = images.pixels[torch.arange(size) % len(images)].to(hardware.device)
        print(f"{name:22s} {image.shape[-1]:6d}", end="", flush=True)
        files, memory = stream(images.pixels, size), stream(lying, size)
        print(f"{pace(decoded(files, size), files, seconds)[0]:10.3g}", end="", flush=True)
        print(f"{pace(measured(memory, images, model, size), memory, seconds)[0]:10.3g}", end="", flush=True)
        files = stream(images.pixels, size, device=hardware.device)
        both, waiting = pace(measured(files, images, model, size), files, seconds)
        print(f"{both:10.3g} {waiting:9.1%}", flush=True)


def photographs(root: Path, library: str, name: str, size: int | None = None) -> tuple[Images, DictConfig]:
    """The photographs as a network takes them, at its own size unless given; and its configuration."""
    from equivariance.study import models
    from equivariance.study.data import datasets as data

    given = [f"model={library}", f"model.name={name}", f"dataset.root={root}", f"dataset.size={size or 'null'}"]
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="measure"):
        cfg = compose("config", ["dataset=image_folder", *given])
    return data.load(models.prepare(cfg.dataset, cfg.model), "held_out", decode=False), cfg.model


def stream(
    pixels: torch.Tensor | Photographs, batch: int, sharing: int = 1, device: str | torch.device = "cpu"
) -> Stream:
    """The images over and over, decoded where they are in files."""
    import torch

    from equivariance.study.data.image_files import Stream

    return Stream(pixels, torch.arange(MANY) % len(pixels), 0, batch, torch.device(device), sharing)


def decoded(source: Stream, batch: int) -> Iterator[int]:
    """Ask for images, batch by batch."""
    for start in range(0, MANY, batch):
        yield len(source[start : start + batch])


def measured(source: Stream, images: Images, model: nn.Module, batch: int) -> Iterator[int]:
    """Measure images, batch by batch."""
    metric = eq.Equivariance(model, eq.rotations(TURNS), blocks=1, batch_size=batch)
    for start in range(0, MANY, batch):
        pixels = source[start : start + batch]
        metric.update(images.normalise(pixels))
        yield len(pixels)


def pace(counts: Iterator[int], source: Stream, seconds: float) -> tuple[float, float]:
    """Images/s, and the share of the time that waited for `source`; after the first batch, where all is set up."""
    next(counts)
    began, waited, images = now(), source.waited, 0
    for count in counts:
        images += count
        if time.perf_counter() - began > seconds:
            break
    took = now() - began
    return images / took, (source.waited - waited) / took


def now() -> float:
    """Seconds, when the device has done what it was given."""
    import torch

    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--models", nargs="+", default=NETWORKS, help="any of timm")
    parser.add_argument("--threads", type=int, help="of the network; all cores unless given")
    parser.add_argument("--batch", type=int, help="images of a batch; 32 unless given, 4 on a CPU")
    parser.add_argument("--seconds", type=float, default=5, help="of each figure, at least")
    given = parser.parse_args()
    from equivariance.study.training.hardware import Hardware  # after --help
    from scripts import samples

    hardware = Hardware.for_measuring(threads=given.threads)
    batch = given.batch or (4 if hardware.device.type == "cpu" else 32)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            chosen = given.root or samples.photographs(Path(temporary), "jpg", (500, 375))
            main(chosen, given.models, hardware, batch, given.seconds)
    except UserError as error:
        sys.exit(f"bench_images.py: {error}")
