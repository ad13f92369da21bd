"""Run the experiments of the papers one after the other: train, measure, collect, draw, judge.

    python scripts/reproduce.py [--size full] [--dry-run] [--jobs N] [overrides, such as data_dir=FOLDER]

`--size full` is what the papers did, `reduced` what a machine without a GPU can carry, `public` measures networks
that others trained (it needs `weights_dir=FOLDER`). First it prints what is done already, what the rest will cost
on this device, estimated from a few steps, and what is missing and how to get it; with --dry-run that is all. The
same command again goes on where it stopped: complete networks and measurements are skipped, partial ones resumed.
An experiment that lacks data or weights is left out, and the exit code says so.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from equivariance.errors import UserError
from equivariance.study import models
from equivariance.study.checkout import REPOSITORY
from equivariance.study.cli import command_line, one_line
from equivariance.study.cli.jobs import jobs
from equivariance.study.config import recipe_of
from equivariance.study.data import datasets
from equivariance.study.identity import measurement_folder
from equivariance.study.runs.folder import Run
from equivariance.study.training.hardware import Hardware
from equivariance.study.training.trainer import Training
from train import step

STUDIES = {
    "full": ("symmetry", "similarity", "augmentation", "capacity", "controlled", "architectures", "accuracy"),
    "reduced": ("augmentation_reduced", "capacity_reduced"),
    "public": ("public_similarity", "public_cifar", "public_imagenet"),
    "quickstart": ("quickstart",),
}
TRAINING_IMAGES = {"cifar10": 50_000, "mnist6": 35_500, "mnist6_rot_inv": 35_500, "mnist6_rot_eq": 35_500}
SHAPES = {"cifar10": ((3, 32, 32), 10)}  # and classes; MNIST's:
DIGITS = ((1, 28, 28), 6)
STATISTICS = 1.4  # a measurement takes so many times its bare forward passes, or less: `scripts/bench.py measure`
STEPS = 2  # timed
STOPPED = (130, 143)  # exit codes of Ctrl-C and SIGTERM


@dataclass(frozen=True)
class Plan:
    """What is to be done for an experiment.

    Attributes:
        networks, trained: to be trained, and the epochs that are done, as a share of all.
        measurements, measured: how many, and how many are done.
        hours: of the rest on this device, one job at a time.
        disk: GiB of checkpoints and kept weights.
        missing: data or weights, and how to get them; None if nothing is.
    """

    experiment: str
    networks: int
    trained: float
    measurements: int
    measured: int
    hours: float
    disk: float
    missing: str | None

    @property
    def complete(self) -> bool:
        return self.trained == 1 and self.measured == self.measurements


def main(*words: str) -> None:
    parser = argparse.ArgumentParser(
        prog="reproduce.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=STUDIES, default="full")
    parser.add_argument("--dry-run", action="store_true", help="print the plan only")
    parser.add_argument("--jobs", type=int, help="networks at a time; a CPU: as many as it has cores, a GPU: 4")
    parser.add_argument("overrides", nargs="*", help="of every job, such as data_dir=FOLDER")
    given = parser.parse_args(words)
    overrides = tuple(given.overrides)
    on_gpu = torch.accelerator.is_available()
    at_a_time = given.jobs or (4 if on_gpu else len(os.sched_getaffinity(0)))
    threads = () if on_gpu else ("hardware.threads=1",)
    timings = Timings()
    plans = [plan(name, (*overrides, *threads), timings) for name in STUDIES[given.size]]
    print(table(plans, at_a_time))
    if given.dry_run:
        return
    failed = [each.experiment for each in plans if each.missing]
    for each in plans:
        if not each.missing and not run(each, (*overrides, *threads), at_a_time):
            failed.append(each.experiment)
    if failed:
        raise UserError(f"not done: {', '.join(failed)}; what is printed above says why, the same command goes on")


def plan(name: str, overrides: tuple[str, ...], timings: "Timings") -> Plan:
    """What an experiment needs, what of it is there, and what the rest costs here."""
    measuring = jobs(name, "measure", overrides)
    own = [cfg for cfg in measuring if cfg.measure.trained and not models.brings_weights(cfg.model)]
    training = jobs(name, "train", overrides) if own else []
    epochs = [min(trained_epochs(Path(cfg.run_dir)) / cfg.recipe.epochs, 1.0) for cfg in training]
    open_measurements = [cfg for cfg in measuring if not (measurement_folder(cfg) / "results.csv").exists()]
    missing = next(filter(None, map(lacks, {cfg.dataset.name: cfg for cfg in measuring}.values())), None)
    missing = missing or next(filter(None, map(lacks_weights, measuring)), None)
    seconds, disk = 0.0, 0.0
    if not missing:
        costs = [timings.training(cfg) for cfg in training]
        disk = sum(size for _, size in costs)
        seconds += sum(whole * (1 - done) for (whole, _), done in zip(costs, epochs, strict=True))
        seconds += sum(map(timings.measuring, open_measurements))
    share = sum(epochs) / len(epochs) if epochs else 1.0
    done = len(measuring) - len(open_measurements)
    return Plan(name, len(training), share, len(measuring), done, seconds / 3600, disk / 2**30, missing)


def trained_epochs(folder: Path) -> int:
    """How many epochs a run has completed: its checkpoint counts, as metrics.csv is written before it."""
    saved = Run(folder).checkpoint_state()
    return saved["epoch"] if saved else 0


def lacks(cfg: DictConfig) -> str | None:
    """Why the images of a job cannot be had; None if they are there or will be downloaded."""
    official = {"cifar10": "CIFAR-10 (170 MB)"}.get(cfg.dataset.name, "MNIST (12 MB)")
    dataset = models.prepare(cfg.dataset, cfg.model)
    if "download" not in dataset:
        return _reason(lambda: datasets.load(dataset, "held_out", decode=False))
    there = OmegaConf.merge(dataset, {"download": False})
    if _reason(lambda: datasets.load(there, "held_out", decode=False)):
        print(f"{official} will be downloaded to {cfg.data_dir}")
    return None


def lacks_weights(cfg: DictConfig) -> str | None:
    """Which file of weights a job has not got; None if it needs none, or a library downloads them."""
    if not cfg.measure.trained or "weights_dir" not in cfg.model:
        return None
    row = models.public.entry(cfg.model.network)
    return _reason(lambda: models.public.checked_file(row, Path(cfg.model.weights_dir)))


def _reason(attempt: Callable[[], object]) -> str | None:
    try:
        attempt()
    except (UserError, HydraException) as error:
        return one_line(error)
    return None


class Timings:
    """How long this device takes, each network timed once."""

    def __init__(self) -> None:
        self.steps: dict[str, tuple[float, int]] = {}
        self.passes: dict[str, float] = {}

    def training(self, cfg: DictConfig) -> tuple[float, float]:
        """Seconds of a whole training, without its augmentation and evaluation, and bytes of what it leaves."""
        recipe = recipe_of(cfg)
        key = f"{sorted(cfg.model.items())} {recipe.batch_size} {recipe.optimiser}"
        if key not in self.steps:
            shape, classes = SHAPES.get(cfg.dataset.name, DIGITS)
            hardware = Hardware(**cfg.hardware)
            model = hardware.place(models.build(cfg.model, shape, classes))
            training = Training(model, recipe, hardware, seed=0)
            share = 1 if hardware.device.type == "cuda" else 4  # a part of a batch takes that part of the time
            images = torch.randn(recipe.batch_size // share, *shape, device=hardware.device)
            labels = torch.arange(len(images), device=hardware.device) % classes
            seconds = share * _seconds(lambda: training.take(step, images, labels))
            self.steps[key] = seconds, sum(p.numel() for p in model.parameters())
        seconds, parameters = self.steps[key]
        steps = TRAINING_IMAGES.get(cfg.dataset.name, 811) // recipe.batch_size * recipe.epochs
        kept = (3 if recipe.optimiser == "adam" else 2) + len(recipe.keep)
        return seconds * steps, 4 * parameters * kept

    def measuring(self, cfg: DictConfig) -> float:
        """Seconds of a measurement, from those of a few images."""
        cfg.dataset = models.prepare(cfg.dataset, cfg.model)  # some transformations need the images' size
        key = f"{sorted(models.untrained(cfg.model).items())} {cfg.dataset.get('size')}"
        if key not in self.passes:
            shape = models.input_shape(cfg.dataset, cfg.model)
            shape, classes = (shape, 1000) if shape else SHAPES.get(cfg.dataset.name, DIGITS)
            hardware = Hardware.for_measuring(**cfg.hardware)
            model = hardware.place(models.build(models.untrained(cfg.model), shape, classes)).eval()
            images = torch.randn(2 if shape[1] > 100 else 64, *shape, device=hardware.device)
            self.passes[key] = _seconds(torch.inference_mode()(lambda: model(images))) / len(images)
        transforms = instantiate(cfg.measure.transform, _convert_="all")
        copies = 1 + sum(2 if hasattr(g, "control") else 1 for g in transforms)
        return self.passes[key] * copies * cfg.measure.images * STATISTICS


def _seconds(work: Callable[[], object]) -> float:
    """The shortest time of a few, after one that warms up."""
    best = float("inf")
    for attempt in range(1 + STEPS):
        began = time.perf_counter()
        work()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        best = min(best, time.perf_counter() - began) if attempt else best
    return best


def table(plans: list[Plan], at_a_time: int) -> str:
    """The plan as text."""
    rows = [
        {
            "experiment": each.experiment,
            "networks": each.networks or "-",
            "trained": f"{each.trained:.0%}" if each.networks else "-",
            "measured": f"{each.measured} of {each.measurements}",
            "hours to go": "?" if each.missing else f"{each.hours:.1f}",
            "GiB": "?" if each.missing else f"{each.disk:.1f}",
        }
        for each in plans
    ]
    hours = sum(each.hours for each in plans if not each.missing) / at_a_time
    name = Hardware().name
    lines = [pd.DataFrame(rows).to_string(index=False)]
    lines.append(
        f"{hours:.1f} hours on {name} with {at_a_time} jobs at a time, if they do not slow each other down"
    )
    lines += [f"{each.experiment} is left out: {each.missing}" for each in plans if each.missing]
    return "\n".join(lines)


def run(each: Plan, overrides: tuple[str, ...], at_a_time: int) -> bool:
    """Do what a plan says is to be done; whether everything succeeded."""
    together = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={at_a_time}") if at_a_time > 1 else ()
    folders = tuple(word for word in overrides if word.partition("=")[0].endswith("_dir"))
    commands = [["scripts/collect.py", each.experiment, *folders], ["scripts/claims.py"]]
    commands.insert(1, ["scripts/figures.py", each.experiment])
    if each.measured < each.measurements:
        commands.insert(0, ["measure.py", f"experiment={each.experiment}", *overrides, *together])
    if each.trained < 1:
        commands.insert(0, ["train.py", f"experiment={each.experiment}", *overrides, *together])
    for command in commands:
        print(f"\n$ python {' '.join(command)}", flush=True)
        code = subprocess.run([sys.executable, *command], cwd=REPOSITORY).returncode
        if code in STOPPED:
            sys.exit(code)
        if code:
            return False
    return True


if __name__ == "__main__":
    command_line(main)
