"""Time the work that costs most, against the plain way, in one run.

    python scripts/bench.py train [--threads 2] [--batch 128] [--rounds 12]
    python scripts/bench.py measure [--models cnn7 resnet44] [--batch 64]

`train`: one step of CNN-7 (forward, backward, update) on batches drawn from a uint8 tensor, as train.py runs it,
against the plain step of the same network: eager, contiguous (NCHW), float32, unfused Adam. Both run in turn, so
that a busy machine slows both; the best round of each counts.

`measure`: a batch and its three quarter turns through each network, bare and measured (statistics of every layer
inside the hooks), in turn; the ratio, and the peak memory of both.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from omegaconf import OmegaConf

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
from equivariance.data import Images
from equivariance.features import find_layers
from equivariance.hardware import Hardware
from equivariance.measure import Measurement
from equivariance.models import CNN7, ResNet
from equivariance.training import Training
from equivariance.transforms import quarter_turns

STEPS = 5  # of each kind a round
NETWORKS = {  # and the images (c, h, w) that they take
    "cnn7": (lambda: CNN7(1, 10), (1, 28, 28)),
    "resnet44": (lambda: ResNet(3, 10, depth=44), (3, 32, 32)),
}


def train(threads: int, batch: int, rounds: int) -> None:
    """Print the time of a plain step, of ours in each precision, and their ratios."""
    recipe = OmegaConf.load(REPOSITORY / "conf/recipe/table1.yaml")
    pixels = torch.randint(256, (4096, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(6, (4096,))
    images = Images(pixels, labels, "234579", torch.tensor([0.1307]), torch.tensor([0.3081]))

    def plain() -> Callable[[], None]:
        model = CNN7(1, 6).to(hardware.device)
        adam = torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)

        def step() -> None:
            chosen = torch.randint(4096, (batch,))
            adam.zero_grad()
            loss = F.cross_entropy(model(on_device.normalise(on_device.pixels[chosen])), on_device.labels[chosen])
            loss.backward()
            adam.step()
            loss.item()  # the usual script shows it after every step

        return step

    def ours(precision: str) -> Callable[[], None]:
        fast = Hardware(precision=precision)
        model = fast.place(CNN7(1, 6))
        training = Training(model, recipe, fast, seed=0)

        def run() -> None:
            chosen = torch.randint(4096, (batch,))
            training.step(on_device.normalise(on_device.pixels[chosen]), on_device.labels[chosen])

        return run

    hardware = Hardware(threads=threads)
    on_device = images.to(hardware.device)
    kinds = {"plain eager NCHW float32": plain()}
    kinds |= {f"ours, {precision}": ours(precision) for precision in dict.fromkeys(("float32", hardware.precision))}
    best = dict.fromkeys(kinds, float("inf"))
    for step in kinds.values():
        step()
    for _ in range(rounds):
        for name, step in kinds.items():
            best[name] = min(best[name], _time(step, hardware.device))
    reference = best["plain eager NCHW float32"]
    print(f"CNN-7, batch {batch}, {hardware.name}: one training step")
    for name, seconds in best.items():
        print(f"{name:26s} {1e3 * seconds:7.2f} ms   {reference / seconds:5.2f} x")


def measure(threads: int, batch: int, rounds: int, names: list[str]) -> None:
    """Print, for each network, time and peak memory of the bare pass and of the measurement, and their ratio."""
    hardware = Hardware(threads=threads)
    turns = quarter_turns([90, 180, 270])
    print(f"{hardware.name}, {batch} images and 3 turns of each, float32")
    print(f"{'network':12s} {'bare':>9s} {'measured':>9s} {'ratio':>6s}   peak MiB, bare and measured")
    for name in names:
        build, shape = NETWORKS[name]
        model = hardware.place(build()).eval()
        inputs = torch.randn(batch, *shape, device=hardware.device)
        orbit = torch.cat([inputs, *(turn.act(inputs) for turn in turns)])
        layers = find_layers(model, inputs[0])

        @torch.inference_mode()
        def bare(model: torch.nn.Module = model, orbit: torch.Tensor = orbit) -> None:
            model(orbit)

        def measured(model: torch.nn.Module = model, layers=layers, inputs: torch.Tensor = inputs) -> None:
            Measurement(model, layers, turns, batch, blocks=1).add(inputs)

        best, peak = {}, {}
        for kind in (bare, measured):
            kind()
            peak[kind] = _peak(kind, hardware.device)
            best[kind] = float("inf")
        for _ in range(rounds):
            for kind in (bare, measured):
                best[kind] = min(best[kind], _time(kind, hardware.device, steps=1))
        ratio = best[measured] / best[bare]
        milliseconds = (1e3 * best[bare], 1e3 * best[measured])
        print(f"{name:12s} {milliseconds[0]:6.0f} ms {milliseconds[1]:6.0f} ms {ratio:5.2f}x", end="   ")
        print(f"{peak[bare]:.0f} {peak[measured]:.0f}")


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
    parser.add_argument("--models", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    arguments = parser.parse_args()
    if arguments.what == "train":
        train(arguments.threads, arguments.batch, arguments.rounds)
    else:
        measure(arguments.threads, arguments.batch, arguments.rounds, arguments.models)
