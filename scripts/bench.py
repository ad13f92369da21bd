"""Time the work that costs most, against the plain way, in one run.

    python scripts/bench.py train [--models cnn7 resnet44] [--threads 2] [--batch 128] [--rounds 12]
    python scripts/bench.py measure [--models resnet44 resnet50 ...] [--over image dataset] [--scores linear,...]

`train`: one step of each network (forward, backward, update) on batches drawn from a uint8 tensor, as train.py runs
it, against the plain step of the same network: eager, contiguous (NCHW), float32, unfused optimiser. Both run in
turn, so that a busy machine slows both; the best round of each counts. Then the input of a step for each
augmentation: choosing, augmenting, mixing and normalising the images.

`measure`: a batch and its three quarter turns through each network, bare and measured (statistics of every layer
inside the hooks, chance level included), in turn; the ratio to the bare pass, and the peak memory. `--scores` adds
the first reading once more with each of: `linear`, the third score; `consistency`, labels, for the share of right
classes; `continuous`, turns by 30, 60 and 120 degrees, each with its control; and their ratios to the plain
measurement.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import timm
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf

from equivariance.checkout import CONF
from equivariance.data.augmentation import Augmentation, Crop, CutMix, Flip, RandAugment
from equivariance.data.datasets import Images
from equivariance.layers.find import find_layers
from equivariance.models import CNN7, ResNet
from equivariance.names import NESTED, OVER, SCORES
from equivariance.scores.continuous import rotations
from equivariance.scores.metric import Equivariance
from equivariance.scores.transforms import quarter_turns
from equivariance.training.hardware import Hardware
from equivariance.training.trainer import Training
from train import step as train_step

STEPS = 5  # of each kind a round
PLAIN = "plain eager NCHW float32"
NETWORKS = {  # and the images (c, h, w) that they take
    "cnn7": (lambda: CNN7(1, 10), (1, 28, 28)),
    "resnet44": (lambda: ResNet(3, 10, depth=44), (3, 32, 32)),
}
ADDITIONS = ("linear", "consistency", "continuous")  # to the plain measurement
PHOTOGRAPHS = ("resnet50", "convnext_tiny", "vit_small_patch16_224", "efficientnet_b0")  # of timm
RECIPES = {"cnn7": "table1", "resnet44": "table2"}
AUGMENTATIONS = {
    "none": Augmentation(),
    "crop_flip": Augmentation([Crop(), Flip()]),
    "randaugment": Augmentation([RandAugment()]),
    "cutmix": Augmentation((), CutMix()),
}


def train(threads: int, batch: int, rounds: int, names: list[str]) -> None:
    """Print, for each network, the time of a plain step, of ours in each precision, and their ratios.

    And the share of a step that the input takes, for each augmentation.
    """
    hardware = Hardware(threads=threads)
    for name in names:
        build, shape = NETWORKS[name]
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
        print(f"{name}, batch {batch}, {hardware.name}: one training step")
        for kind, seconds in best.items():
            print(f"{kind:26s} {1e3 * seconds:7.2f} ms   {best[PLAIN] / seconds:5.2f} x")

        training = trainings[hardware.precision]
        inputs = {aug: partial(_draw, training, images, augment) for aug, augment in AUGMENTATIONS.items()}
        steps = training.steps(len(images))
        for aug, seconds in _best(inputs, rounds, hardware.device, steps=1).items():
            share = seconds / steps / (seconds / steps + best[f"ours, {hardware.precision}"])
            print(f"input, {aug:19s} {1e3 * seconds / steps:7.2f} ms   {share:6.1%} of a step")


def plain_optimiser(recipe: DictConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a recipe, as one would write it: not fused."""
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
    threads: int, batch: int, rounds: int, names: list[str], readings: list[str], additions: list[str]
) -> None:
    """Print time, ratio to the bare pass and peak memory of each network's bare pass and of its measurement.

    Of each addition to it also the ratio to the plain measurement under the first reading.
    """
    hardware = Hardware.for_measuring(threads=threads)
    turns = quarter_turns([90, 180, 270])
    print(f"{hardware.name}, images and 3 turns of each, float32")
    for name in names:
        build, shape = NETWORKS.get(name) or (partial(timm.create_model, name), (3, 224, 224))
        images = batch if name in NETWORKS else max(2, batch // 8)  # photographs are larger
        model = hardware.place(build()).eval()
        inputs = torch.randn(images, *shape, device=hardware.device)
        orbit = torch.cat([inputs, *(turn.act(inputs) for turn in turns)])
        layers = find_layers(model, inputs[0])

        held_back = torch.cat([inputs, inputs[:2]])  # so that all of them are measured in one pass

        @torch.inference_mode()
        def bare(model: torch.nn.Module = model, orbit: torch.Tensor = orbit) -> None:
            model(orbit)

        def measured(over: str, addition: str = "", model=model, layers=layers, inputs=held_back) -> None:
            scores = NESTED if addition == "linear" else SCORES
            transforms = rotations([30, 60, 120]) if addition == "continuous" else turns
            labels = torch.zeros(len(inputs), dtype=torch.long) if addition == "consistency" else None
            metric = Equivariance(
                model, inputs[0], transforms, layers, over=over, scores=scores, blocks=1, batch_size=len(inputs)
            )
            metric.update(inputs, labels)

        kinds = {"bare": bare} | {over: partial(measured, over) for over in readings}
        kinds |= {f"+ {each}": partial(measured, readings[0], each) for each in additions}
        best, peak = {}, {}
        for kind, work in kinds.items():
            work()
            peak[kind] = _peak(work, hardware.device)
            best[kind] = float("inf")
        for _ in range(rounds):
            for kind, work in kinds.items():
                best[kind] = min(best[kind], _time(work, hardware.device, steps=1))
        for kind in kinds:
            ratio = best[kind] / best["bare"]
            to_plain = f"   {best[kind] / best[readings[0]]:5.2f}x {readings[0]}" if kind.startswith("+") else ""
            print(
                f"{name:22s} {images:6d} {kind:13s} {1e3 * best[kind]:6.0f} ms {ratio:5.2f}x {peak[kind]:6.0f} MiB"
                f"{to_plain}"
            )
        sys.stdout.flush()


def _peak(work: Callable[[], None], device: torch.device) -> float:
    """MiB of tensors at the most that `work` has allocated at a time."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() / 2**20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
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
    began = time.perf_counter()
    for _ in range(steps):
        step()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return (time.perf_counter() - began) / steps


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "measure"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
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
    else:
        names = given.models or [*NETWORKS, *PHOTOGRAPHS]
        measure(given.threads, given.batch, given.rounds, names, given.over, additions)
