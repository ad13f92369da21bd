"""Time the work that costs most, against the plain way, in one run.

    python scripts/bench.py train [--models cnn7 resnet44] [--threads 2] [--batch 128] [--rounds 12]
    python scripts/bench.py measure [--models resnet44 resnet50 ...] [--over image dataset] [--scores linear,...]
    python scripts/bench.py passes [--models resnet44 ...] [--over image]

`train`: one step of each network (forward, backward, update) on batches drawn from a uint8 tensor, as train.py runs
it, against the plain step of the same network: eager, contiguous (NCHW), float32, unfused optimiser. Both run in
turn, so that a busy machine slows both; the best round of each counts. Then the input of a step for each
augmentation: choosing, augmenting, mixing and normalising the images.

`measure`: a batch and its three quarter turns through each network, in turn bare, measured under each reading
(statistics of every layer inside the hooks, chance level included), and in the way of tmeasures (Quiroga et al.
2021): the variance of every activation over transformations and over images, one score and no pairs of channels.
The ratio to the bare pass, and the peak memory. `--scores` adds the first reading once more with each of: `linear`,
the third score; `consistency`, labels, for the share of right classes; `continuous`, turns by 30, 60 and 120
degrees, each with its control; and their ratios to the plain measurement.

`passes`: what the statistics of a batch consist of: every operation on the maps with its time, and the bytes that
it reads and writes.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

import equivariance as eq
from equivariance.names import NESTED, OVER, SCORES
from equivariance.study.checkout import CONF

if TYPE_CHECKING:
    import torch

    from equivariance.layers.find import Layers
    from equivariance.study.data.augmentation import Augmentation
    from equivariance.study.data.datasets import Images
    from equivariance.study.training.hardware import Hardware
    from equivariance.study.training.trainer import Training
    from equivariance.transforms.protocol import Transformation

STEPS = 5  # of each kind a round
PLAIN = "plain eager NCHW float32"
NETWORKS = {"cnn7": (1, 28, 28), "resnet44": (3, 32, 32)}  # and the images (c, h, w) that they take
ADDITIONS = ("linear", "consistency", "continuous")  # to the plain measurement
PHOTOGRAPHS = (  # of timm
    *("resnet50", "efficientnet_b0", "vit_small_patch16_224", "mixer_s16_224", "convnext_tiny"),
    "swin_tiny_patch4_window7_224",
)
INSTRUCTIONS = ("amx_tile", "avx512_bf16", "avx512f", "avx2", "asimd")  # that decide how fast products are
RECIPES = {"cnn7": "table1", "resnet44": "table2"}


def network(name: str) -> torch.nn.Module:
    """One of NETWORKS, or any of timm."""
    import timm  # here and below, as these take seconds that --help does not need

    from equivariance.study.models import CNN7, ResNet

    if name == "cnn7":
        return CNN7(1, 10)
    return ResNet(3, 10, depth=44) if name == "resnet44" else timm.create_model(name)


def augmentations() -> dict[str, Augmentation]:
    """Those that are timed."""
    from equivariance.study.data.augmentation import Augmentation, Crop, CutMix, Flip, RandAugment

    named = {"none": Augmentation(), "crop_flip": Augmentation([Crop(), Flip()])}
    return named | {"randaugment": Augmentation([RandAugment()]), "cutmix": Augmentation((), CutMix())}


def train(threads: int | None, batch: int, rounds: int, names: list[str]) -> None:
    """Print, for each network, the time of a plain step, of ours in each precision, and their ratios.

    And the share of a step that the input takes, for each augmentation.
    """
    import torch
    import torch.nn.functional as F

    from equivariance.study.data.datasets import Images
    from equivariance.study.training.hardware import Hardware
    from equivariance.study.training.trainer import Training
    from train import step as train_step

    hardware = Hardware(threads=threads)
    for name in names:
        build, shape = partial(network, name), NETWORKS[name]
        recipe = OmegaConf.load(CONF / f"recipe/{RECIPES[name]}.yaml")
        recipe.batch_size = batch
        pixels = torch.randint(256, (32 * batch, *shape), dtype=torch.uint8)
        grey = torch.full(shape[:1], 0.5)
        images = Images(pixels, torch.randint(10, (len(pixels),)), range(10), grey, grey).to(hardware.device)
        trainings = {}

        def plain(build=build, recipe=recipe, images=images) -> Callable[[], None]:
            model = build().to(hardware.device)
            update = plain_optimiser(recipe, model)

            def step() -> None:
                chosen = torch.randint(len(images), (batch,))
                update.zero_grad()
                loss = F.cross_entropy(model(images.normalise(images.pixels[chosen])), images.labels[chosen])
                loss.backward()
                update.step()
                loss.item()  # the usual script shows it after every step

            return step

        def ours(precision: str, build=build, recipe=recipe, images=images, made=trainings) -> Callable[[], None]:
            fast = Hardware(precision=precision)
            made[precision] = training = Training(fast.place(build()), recipe, fast, seed=0)

            def step() -> None:
                chosen = torch.randint(len(images), (batch,))
                training.take(train_step, images.normalise(images.pixels[chosen]), images.labels[chosen])

            return step

        kinds = {PLAIN: plain()}
        kinds |= {f"ours, {kind}": ours(kind) for kind in dict.fromkeys(("float32", hardware.precision))}
        best = _best(kinds, rounds, hardware.device)
        print(f"{machine(hardware)}\n{name}, batch {batch}: one training step")
        for kind, seconds in best.items():
            print(f"{kind:26s} {1e3 * seconds:7.2f} ms   {best[PLAIN] / seconds:5.2f} x")

        training = trainings[hardware.precision]
        inputs = {aug: partial(_draw, training, images, augment) for aug, augment in augmentations().items()}
        steps = training.steps(len(images))
        for aug, seconds in _best(inputs, rounds, hardware.device, steps=1).items():
            share = seconds / steps / (seconds / steps + best[f"ours, {hardware.precision}"])
            print(f"input, {aug:19s} {1e3 * seconds / steps:7.2f} ms   {share:6.1%} of a step")


def plain_optimiser(recipe: DictConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a recipe, as one would write it: not fused."""
    import torch

    common = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), **common)
    return torch.optim.SGD(model.parameters(), momentum=recipe.momentum, **common)


def _draw(training: Training, images: Images, augment: Augmentation) -> None:
    """All batches of an epoch: chosen, augmented, mixed, normalised."""
    training.augmentation, training.order, training.draws, training.step = augment, None, None, 0
    for _ in training.batches(images):
        pass


def measure(
    threads: int | None, batch: int, rounds: int, names: list[str], readings: list[str], additions: list[str]
) -> None:
    """Print time, ratio to the bare pass and peak memory of each network's bare pass and of its measurement.

    Of each addition to it also the ratio to the plain measurement under the first reading.
    """
    import torch

    from equivariance.study.training.hardware import Hardware

    hardware = Hardware.for_measuring(threads=threads)
    turns = eq.rotations([90, 180, 270])
    print(f"{machine(hardware)}\nimages and 3 turns of each, float32")
    for name in names:
        model, inputs, orbit, layers = _network(name, batch, hardware, turns)
        measured = partial(_measured, model, inputs, layers)
        kinds = {"bare": partial(torch.inference_mode()(model), orbit)}
        kinds |= {over: measured(turns, over=over) for over in readings}
        kinds |= {"tmeasures": partial(_variances, model, orbit, layers)}
        for each in additions:
            transforms = eq.rotations([30, 60, 120]) if each == "continuous" else turns
            scores = NESTED if each == "linear" else SCORES
            labelled = each == "consistency"
            kinds[f"+ {each}"] = measured(transforms, labelled, over=readings[0], scores=scores)
        peak = {kind: _peak(work, hardware.device) for kind, work in kinds.items()}
        best = _best(kinds, rounds, hardware.device, steps=1)
        for kind in kinds:
            ratio = best[kind] / best["bare"]
            to_plain = f"   {best[kind] / best[readings[0]]:5.2f}x {readings[0]}" if kind.startswith("+") else ""
            print(
                f"{name:30s} {len(inputs):4d} {kind:13s} {1e3 * best[kind]:6.0f} ms {ratio:5.2f}x "
                f"{peak[kind]:6.0f} MiB{to_plain}"
            )
        sys.stdout.flush()


def passes(threads: int | None, batch: int, names: list[str], over: str) -> None:
    """Print, for the statistics of one batch, calls, time, bytes and bytes a second of each operation."""
    import torch

    from equivariance.layers.find import tap
    from equivariance.statistics.image_blocks import CHANCE, TRUE
    from equivariance.study.training.hardware import Hardware

    hardware = Hardware.for_measuring(threads=threads)
    turns = eq.rotations([90, 180, 270])
    print(machine(hardware))
    for name in names:
        model, inputs, orbit, layers = _network(name, batch, hardware, turns)
        metric = eq.Equivariance(model, turns, layers, over=over, blocks=1)
        metric.setup(inputs)
        maps: dict[str, torch.Tensor] = {}
        with torch.inference_mode(), tap(layers, maps.__setitem__):
            model(orbit)

        @torch.inference_mode()
        def statistics(metric: eq.Equivariance = metric, maps: dict = maps, layers: Layers = layers) -> None:
            for layer in layers:
                metric.sums.of_maps(
                    layer, over, maps[layer.name].unflatten(0, (1 + len(turns), -1)), (TRUE, CHANCE)
                )

        statistics()
        timed = {event.key: event for event in _profiled(statistics).key_averages()}
        moved = Counter[str]()  # in a run of its own, as recording the shapes keeps memory from being used again
        for event in _profiled(statistics, record_shapes=True).key_averages(group_by_input_shape=True):
            read = [math.prod(shape) for shape in event.input_shapes if shape]
            reduces = event.key in ("aten::sum", "aten::mean", "aten::addmm_", "aten::mm")
            moved[event.key] += 4 * event.count * (sum(read) + (0 if reduces else max(read, default=0)))
        total = sum(event.self_cpu_time_total for event in timed.values())
        size = 4 * sum(each.nelement() for each in maps.values()) / 2**20
        print(f"{name}, {len(inputs)} images, over={over}: {size:.0f} MiB of maps, copies included")
        print("operation            calls      ms   share     MiB   GiB/s")
        for event in sorted(timed.values(), key=lambda event: -event.self_cpu_time_total)[:12]:
            seconds, mib = event.self_cpu_time_total / 1e6, moved[event.key] / 2**20
            print(
                f"{event.key.removeprefix('aten::'):18s} {event.count:7d} {1e3 * seconds:7.1f} "
                f"{event.self_cpu_time_total / total:7.0%} {mib:7.0f} {mib / 1024 / seconds:7.1f}"
            )


def _profiled(work: Callable[[], None], **arguments: bool) -> torch.profiler.profile:
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], **arguments) as profile:
        work()
    return profile


def _network(
    name: str, batch: int, hardware: Hardware, turns: Sequence[Transformation]
) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor, Layers]:
    """A network, a batch of random images, the batch with all copies, and the network's layers."""
    import torch

    from equivariance.layers.find import find_layers

    shape = NETWORKS.get(name, (3, 224, 224))
    model = hardware.place(network(name)).eval()
    images = batch if name in NETWORKS else max(2, batch // 8)  # photographs are larger
    inputs = torch.randn(images, *shape, device=hardware.device)
    orbit = torch.cat([inputs, *(turn.act(inputs) for turn in turns)])
    return model, inputs, orbit, find_layers(model, inputs[0])


def machine(hardware: Hardware) -> str:
    """Processor, instruction sets, threads and libraries, in a line."""
    import torch

    found = {"model name": platform.processor() or platform.machine(), "flags": ""}
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
        found |= {key.strip(): value.strip() for key, _, value in lines}
    flags = found.get("flags") or found.get("Features", "")
    there = [each for each in INSTRUCTIONS if each in flags.split()]
    libraries = f"torch {torch.__version__}, {'MKL' if torch.backends.mkl.is_available() else 'no MKL'}"
    libraries += f", {'oneDNN' if torch.backends.mkldnn.is_available() else 'no oneDNN'}"
    return f"{found['model name']} ({', '.join(there)}); {hardware.name}; {libraries}"


def _measured(
    model: torch.nn.Module,
    inputs: torch.Tensor,
    layers: Layers,
    transforms: Sequence[Transformation],
    labelled: bool = False,
    **arguments: Any,
) -> Callable[[], None]:
    """What adds a batch to a measurement that has begun."""
    import torch

    size = len(inputs)
    metric = eq.Equivariance(model, transforms, layers, blocks=1, batch_size=size, **arguments)
    labels = torch.zeros(size, dtype=torch.long) if labelled else None
    metric.update(inputs[-2:], None if labels is None else labels[-2:])
    return partial(metric.update, inputs, labels)


def _variances(model: torch.nn.Module, orbit: torch.Tensor, layers: Layers) -> None:
    """The variance of every activation over transformations and over images, in the way of tmeasures."""

    import torch

    from equivariance.layers.find import tap

    def receive(name: str, maps: torch.Tensor) -> None:
        by_copy = maps.unflatten(0, (4, -1))
        squares = by_copy.square()
        variances = [(squares.mean(axis) - by_copy.mean(axis).square()).mean(0) for axis in (0, 1)]
        variances[0].div_(variances[1])

    with torch.inference_mode(), tap(layers, receive):
        model(orbit)


def _peak(work: Callable[[], None], device: torch.device) -> float:
    """MiB of tensors at the most that `work` has allocated at a time."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() / 2**20
    profile = _profiled(work, profile_memory=True)
    now = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most / 2**20


def _best(kinds: dict[str, Callable[[], None]], rounds: int, device: torch.device, steps: int = STEPS) -> dict:
    """Seconds of one step of each kind, the best of some rounds; all kinds in turn in each."""
    best = dict.fromkeys(kinds, float("inf"))
    for step in kinds.values():
        step()
    for _ in range(rounds):
        for name, step in kinds.items():
            best[name] = min(best[name], _time(step, device, steps))
    return best


def _time(step: Callable[[], None], device: torch.device, steps: int = STEPS) -> float:
    """Seconds of one step, the mean of a few."""
    import torch

    began = time.perf_counter()
    for _ in range(steps):
        step()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return (time.perf_counter() - began) / steps


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "measure", "passes"])
    parser.add_argument("--threads", type=int, help="all cores unless given")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--models", nargs="+", help=f"{', '.join(NETWORKS)}; to measure, any of timm besides")
    parser.add_argument("--over", nargs="+", choices=OVER, default=["image", "dataset"], help="readings to measure")
    parser.add_argument("--scores", default="", help=f"of {','.join((*SCORES, *ADDITIONS))}, see above")
    given = parser.parse_args()
    additions = [score for score in given.scores.split(",") if score not in ("", *SCORES)]
    if unknown := sorted({*additions} - {*ADDITIONS}):
        parser.error(f"--scores {unknown[0]}: choose from {', '.join((*SCORES, *ADDITIONS))}")
    if given.what == "train":
        train(given.threads, given.batch, given.rounds, given.models or list(NETWORKS))
    elif given.what == "passes":
        passes(given.threads, given.batch, given.models or ["resnet44"], given.over[0])
    else:
        names = given.models or [*NETWORKS, *PHOTOGRAPHS]
        measure(given.threads, given.batch, given.rounds, names, given.over, additions)
