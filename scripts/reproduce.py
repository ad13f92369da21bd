"""Run the experiments of the papers one after the other: train, measure, collect, draw, judge.

    python scripts/reproduce.py [--size full] [--tiny] [--dry-run] [--jobs N] [overrides, such as data_dir=FOLDER]

`--size full` is what the papers did, `reduced` what a machine without a GPU can carry, `public` measures networks
that others trained (it needs `weights_dir=FOLDER`), `quickstart` takes a minute, `all` is all of them. First it
prints what is done and what the rest costs (scripts/reproduce.yaml); with --dry-run that is all. The same command
again goes on where it stopped, and does nothing when all is done. An experiment that lacks data or weights is left
out, and the exit code says so. With overrides beside folders, such as recipe.epochs=2, rows and figures go to
runs_dir/EXPERIMENT. `--jobs N` runs so many trainings, then so many measurements at a time.

`--tiny` sees in minutes whether everything runs: one seed, two epochs of 50 images, `tiny` in reproduce.yaml. Runs,
rows and figures lie in folders of their own, named tiny.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from omegaconf import DictConfig

from equivariance.errors import UserError
from equivariance.study.cli import command_line
from equivariance.study.cli.jobs import jobs, preset, target
from equivariance.study.config import EXPERIMENTS, REPOSITORY, published_networks
from equivariance.study.identity import measurement_folder

STUDY = yaml.safe_load((REPOSITORY / "scripts/reproduce.yaml").read_text())
STOPPED = (130, 143)  # exit codes of Ctrl-C and SIGTERM


class Plan(NamedTuple):
    """What an experiment consists of.

    Attributes:
        overrides: of all its commands.
        networks: the run folders of those that it trains, and their epochs.
        results: the files of its measurements' rows.
        rows: the file in which they are collected.
        lacking: images and weights that are not there, and whether they will be downloaded.
    """

    name: str
    overrides: tuple[str, ...]
    networks: dict[Path, int]
    results: list[Path]
    rows: Path
    lacking: dict[str, bool]

    @property
    def missing(self) -> list[str]:
        """What it cannot get."""
        return [text for text, downloaded in self.lacking.items() if not downloaded]


class Stage(NamedTuple):
    """A command, and whether what it makes is there."""

    command: tuple[str, ...]
    done: Callable[[], bool]


def main(*words: str) -> None:
    parser = argparse.ArgumentParser(prog="reproduce.py")
    parser.add_argument("--size", choices=[*STUDY["sizes"], "all"], default="full")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args(words)
    overrides = tuple(given.overrides)
    names = STUDY["sizes"].get(given.size) or [*chain(*STUDY["sizes"].values())]
    names = [name for name in names if not given.tiny or STUDY["tiny"].get(name, ()) is not None]
    if given.tiny and not given.dry_run:
        data, source = tiny_data(overrides)
        if not run([Stage(("scripts/small_data.py", str(data), source), data.is_dir)]):
            raise UserError("tiny experiments have no data; what is printed above says why")
    plans = [planned(name, overrides_of(name, overrides, given.tiny)) for name in names]
    print(table(plans, costs=not given.tiny))
    if given.dry_run:
        return
    signal.signal(signal.SIGINT, lambda *_: None)  # the job gets Ctrl-C too, saves what it has, and exits with 130
    failed = [each.name for each in plans if each.missing or not run(stages(each, given.jobs))]
    if failed:
        raise UserError(f"not done: {', '.join(failed)}; what is printed above says why, the same command goes on")


def tiny_data(overrides: tuple[str, ...]) -> tuple[Path, str]:
    """The data folder of tiny experiments, and the one that its few images are taken from."""
    cfg = preset("quickstart", "measure", without(overrides, "weights_dir"))
    return Path(cfg.runs_dir) / "tiny/data", cfg.data_dir


def overrides_of(name: str, given: tuple[str, ...], tiny: bool) -> tuple[str, ...]:
    """The overrides of one experiment: what is given, but `weights_dir` only if it has one; and what makes it tiny.

    A tiny one has its runs in the folder `tiny` of the preset's, and the few images as soon as they are there.
    """
    cfg = preset(name, "measure", without(given, "weights_dir"))
    given = given if "weights_dir" in cfg else without(given, "weights_dir")
    if not tiny:
        return given
    folders = {"runs_dir": f"{cfg.runs_dir}/tiny"}
    if (data := tiny_data(given)[0]).is_dir():  # until then the plan asks for the images that they are taken from
        folders["data_dir"] = str(data)
    words = (*STUDY["tiny"]["every"], *STUDY["tiny"].get(name, ()), *without(given, *folders))
    return (*words, *(f"{key}={folder}" for key, folder in folders.items()))


def without(overrides: tuple[str, ...], *keys: str) -> tuple[str, ...]:
    return tuple(word for word in overrides if word.partition("=")[0] not in keys)


def planned(name: str, overrides: tuple[str, ...]) -> Plan:
    """The networks and measurements of an experiment, as its preset composes them."""
    configurations = jobs(name, "measure", overrides)
    own = [cfg for cfg in configurations if not (cfg.model.get("pretrained") or cfg.model.get("weights"))]
    networks = {Path(cfg.run_dir): cfg.recipe.epochs for cfg in own if cfg.measure.trained}
    results = {measurement_folder(cfg) / "results.csv": cfg for cfg in configurations}
    lacks = dict(each for file, cfg in results.items() if not file.exists() for each in lacking(cfg))
    return Plan(name, overrides, networks, [*results], target(name, of_rows(overrides)) / "results.csv", lacks)


def lacking(cfg: DictConfig) -> Iterator[tuple[str, bool]]:
    """What of a job's images or weights is not there, and whether it will be downloaded."""
    data = STUDY["data"].get(cfg.dataset.name.partition("_")[0])
    if data and not any((Path(cfg.dataset.root) / folder).is_dir() for folder in data["folders"]):
        yield f"{data['what']} in {cfg.dataset.root}", cfg.dataset.get("download", False)
    if not cfg.measure.trained:
        return
    if "weights_dir" in cfg.model:
        file = Path(cfg.model.weights_dir).expanduser() / published_networks()[cfg.model.network]["file"]
        if not file.is_file():
            yield f"{file}, see python scripts/public.py --help; weights_dir=FOLDER names another place", False
    elif cfg.model.get("pretrained") or cfg.model.get("weights"):
        yield f"the weights of {cfg.model.name}, unless timm or torchvision has them in its cache", True


def table(plans: list[Plan], costs: bool = True) -> str:
    """What is done and what the rest costs, a line an experiment; what two of them share is counted once."""
    devices = STUDY["devices"] if costs else []
    lines, total, counted = list[list[str]](), np.zeros((len(devices), 2)), set[Path]()
    for plan in plans:
        done = {  # which share of each training and of each measurement
            "train": {run: min(epochs_of(run) / asked, 1) for run, asked in plan.networks.items()},
            "measure": {file: float(file.exists()) for file in plan.results},
        }
        hours = np.zeros((len(devices), 2))
        for what, minutes in STUDY["minutes"][plan.name].items():  # at least and at most, on each device
            left = sum(1 - share for place, share in done[what].items() if place not in counted)
            hours += left * np.array(minutes)[: len(devices)] / 60
        counted |= {*plan.networks, *plan.results}
        total += 0 if plan.missing else hours
        shares = (f"{sum(each.values()):.3g} of {len(each)}" if each else "-" for each in done.values())
        lines.append([plan.name, *shares, *(["left out"] * len(devices) if plan.missing else map(span, hours))])
    lines += [["all", "", "", *map(span, total)]] if costs else []
    columns = ["experiment", "trained", "measured", *(f"hours, {device}" for device in devices)]
    text = [pd.DataFrame(lines, columns=columns).to_string(index=False)]
    text += [f"{plan.name} is left out: no {plan.missing[0]}" for plan in plans if plan.missing]
    wanted = {each for plan in plans if not plan.missing for each in plan.lacking}
    text += [f"will be downloaded: {each}" for each in sorted(wanted)]
    return "\n".join([*text, *([STUDY["note"]] if costs else [])])


def epochs_of(folder: Path) -> int:
    """How many epochs a run has completed: its checkpoint counts, as metrics.csv is written before it."""
    if not (folder / "checkpoint.pt").exists():
        return 0
    from equivariance.study.runs.folder import Run  # here, as importing torch takes seconds

    saved = Run(folder).checkpoint_state()
    return saved["epoch"] if saved else 0


def span(hours: Iterable[float]) -> str:
    """At least and at most, in two digits: "8-18"."""
    return " - ".join(f"{float(f'{each:.2g}'):,g}" for each in hours)


def stages(plan: Plan, at_a_time: int) -> list[Stage]:
    """The commands of an experiment in their order: train, measure, collect, further tables, draw, judge."""
    folder = plan.rows.parent
    committed = folder.is_relative_to(EXPERIMENTS)
    sweep = (f"experiment={plan.name}", *plan.overrides)
    if at_a_time > 1:
        sweep += ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={at_a_time}")
    training = (word for word in sweep if not word.startswith("measure."))
    chosen = of_rows(plan.overrides)
    return [
        Stage(("train.py", *training), lambda: all(epochs_of(run) >= n for run, n in plan.networks.items())),
        Stage(("measure.py", *sweep), lambda: all(file.exists() for file in plan.results)),
        Stage(("scripts/collect.py", plan.name, *chosen), lambda: follows([plan.rows], plan.results)),
        *(
            Stage((f"scripts/{script}", *words, *chosen), (folder / made).exists)
            for script, *words, made in STUDY["tables"].get(plan.name, [])
        ),
        Stage(
            ("scripts/figures.py", plan.name, *([] if committed else [str(folder)])),
            lambda: follows(folder.glob("*.png"), [plan.rows]),
        ),
        Stage(
            ("scripts/claims.py",),  # verdicts are of committed rows
            lambda: not committed or follows([EXPERIMENTS / "README.md"], [plan.rows]),
        ),
    ]


def of_rows(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """The overrides without those that change no row."""
    return tuple(word for word in overrides if not word.startswith(("hardware.", "wandb.")))


def follows(products: Iterable[Path], sources: Iterable[Path]) -> bool:
    """Whether the newest product is there, and no older than any source."""
    made = [file.stat().st_mtime for file in products if file.exists()]
    return bool(made) and max(made) >= max((file.stat().st_mtime for file in sources), default=0)


def run(stages: list[Stage]) -> bool:
    """Do what is not done; whether everything succeeded."""
    for command, done in stages:
        if not done():
            print(f"\n$ python {' '.join(command)}", flush=True)
            code = subprocess.run([sys.executable, *command], cwd=REPOSITORY).returncode
            if code in STOPPED:
                sys.exit(code)
            if code:
                return False
    return True


if __name__ == "__main__":
    command_line(main)
