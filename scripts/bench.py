"""Time the work that costs most, against the plain way, in one run.

    python scripts/bench.py train [--threads 2] [--batch 128] [--rounds 12]

`train`: one step of CNN-7 (forward, backward, update) on batches drawn from a uint8 tensor, as train.py runs it,
against the plain step of the same network: eager, contiguous (NCHW), float32, unfused Adam. Both run in turn, so
that a busy machine slows both; the best round of each counts.
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
from equivariance.hardware import Hardware
from equivariance.models import CNN7
from equivariance.training import Training

STEPS = 5  # of each kind a round


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


def _time(step: Callable[[], None], device: torch.device) -> float:
    """Seconds of one step, the mean of a few."""
    began = time.perf_counter()
    for _ in range(STEPS):
        step()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return (time.perf_counter() - began) / STEPS


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    train(arguments.threads, arguments.batch, arguments.rounds)
