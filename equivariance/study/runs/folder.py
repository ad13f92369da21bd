"""A run's folder: its files, the configuration that identifies it, and a lock for one writer at a time."""

import os
import re
import subprocess
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from equivariance.errors import UserError
from equivariance.files import atomic_file, write_atomic
from equivariance.study.config import REPOSITORY, Recipe

if TYPE_CHECKING:
    from equivariance.study.training.trainer import Training

LIBRARY_WEIGHTS = {"pretrained": "true", "weights": "..."}
PROVENANCE = ("git_commit", "torch_version", "hardware")
CHECKPOINT = ("config", "epoch", "order", "history", "model", "optimiser", "generator", "torch_rng", "totals")
RENAMED = {"turns": "rotations", "quarter_turns": "rotations"}  # functions that older configurations name
LEFT = 3600  # seconds in which nobody has written to a temporary file that is left over
ANOTHER = "choose another run_dir"
ANEW = f"{ANOTHER}, or move it away to train anew"


@dataclass(frozen=True)
class Run:
    """The folder of one trained network: `checkpoint.pt`, `metrics.csv`, `config.yaml` and `measure/`."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @contextmanager
    def only_process(self) -> Iterator[None]:
        """Keep a second process out of the folder, and remove what killed ones left half written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"{self.folder} is in use by another process; wait for it, or {ANOTHER}") from error
        try:
            for file in (*self.folder.glob(".*"), *self.kept(0).parent.glob(".*")):
                if re.fullmatch(r"\..+\.\d+", file.name) and file.stat().st_mtime < time.time() - LEFT:
                    file.unlink(missing_ok=True)
            yield
        finally:
            if {*self.folder.iterdir()} == {self.folder / ".lock"}:  # whatever failed has left nothing
                (self.folder / ".lock").unlink()
                os.removedirs(self.folder)
            lock.release()

    def checkpoint_state(self) -> dict[str, Any] | None:
        """The checkpoint of this folder, None if there is none; a UserError for a damaged or partial one."""
        if not self.checkpoint.exists():
            return None
        state = read_state(self.checkpoint, CHECKPOINT)
        if not isinstance(state["config"], dict) or len(state["history"]) != state["epoch"]:
            raise UserError(f"{self.checkpoint} is damaged; {ANEW}")
        return state

    def load(
        self, config: dict[str, Any], ignore: tuple[str, ...] = (), classes: Sequence[str] | None = None
    ) -> dict[str, Any] | None:
        """The checkpoint of this folder, None if there is none; a UserError for that of another configuration.

        Args:
            ignore: keys of `config` in which it may differ.
            classes: that it must have been trained for.
        """
        if (state := self.checkpoint_state()) is None:
            return None
        if classes is not None:
            self._check_classes(state.get("classes") or [*classes], [*classes])  # an old one does not say which
        made_with = state["config"]
        if "computation" not in made_with or stretches_of(state)[-1]["torch_version"] != torch.__version__:
            ignore = (*ignore, "computation")  # an old one, or operations of another version
        wanted = config | {key: made_with.get(key) for key in ignore}
        if difference := first_difference(made_with, wanted):
            key, there, here = difference
            what = f"holds a run with {key}={there}, this one has {key}={here}"
            if key == "computation":
                what = "was trained with a network that computes otherwise: its code was edited since"
            raise UserError(f"{self.folder} {what}; measure.py run={self.folder} measures that one, or {ANOTHER}")
        return state

    def resume(self, training: "Training", saved: dict[str, Any]) -> None:
        """Go on where a checkpoint was saved."""
        here = () if saved.get("step", saved.get("start")) else (saved["epoch"],)  # which can still be kept
        past = {epoch for epoch in training.recipe.keep if epoch <= saved["epoch"] and epoch not in here}
        if lost := sorted(epoch for epoch in past if not self.kept(epoch).exists()):
            raise UserError(
                f"recipe.keep={lost}: {self.folder} was trained without keeping the weights of these epochs; "
                f"{ANOTHER}"
            )
        try:
            training.restore(saved)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{self.checkpoint} does not fit: {_last_line(error)}; {ANOTHER}") from error

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint, and before it what of it people read: its configuration and its history."""
        write_config(self.folder, state["config"])
        if state["history"]:
            write_atomic(self.folder / "metrics.csv", pd.DataFrame(state["history"]).to_csv(index=False))
        save_state(self.checkpoint, state)

    def stretches(self, saved: dict[str, Any] | None, here: dict[str, str], strict: bool) -> list[dict[str, Any]]:
        """Where each part of the run was trained: the place in which it began (epoch, step), and its provenance.

        The last one begins now, unless nothing has changed. A change that may change the weights, of the hardware
        (with the number of threads) or of PyTorch, is printed, or refused where `strict`.
        """
        if saved is None:
            return [{"epoch": 0, "step": 0} | here]
        before = stretches_of(saved)
        last, deciding = before[-1], ("hardware", "torch_version")
        if changed := [f"{last[key]}, now {here[key]}" for key in deciding if last[key] != here[key]]:
            text = f"{self.folder} was trained on {' and '.join(changed)}"
            if strict:
                raise UserError(f"{text}: hardware.strict=true refuses to go on")
            print(f"{text}: the weights will not be exactly those of an uninterrupted run")
        if all(last[key] == here[key] for key in here):
            return before
        return [*before, {"epoch": saved["epoch"], "step": saved.get("step", saved.get("start"))} | here]

    def kept(self, epoch: int) -> Path:
        """Where the weights after this epoch are kept; 0 is the untrained network."""
        return self.folder / "weights" / f"epoch{epoch}.pt"

    def keep(self, training: "Training") -> None:
        """Keep the weights, with their accuracy, between two epochs, if `recipe.keep` names the one completed."""
        if training.step == 0 and training.epoch in training.recipe.keep:
            state = {"epoch": training.epoch, "accuracy": training.accuracy, "model": training.model.state_dict()}
            save_state(self.kept(training.epoch), state)

    def load_weights(
        self, model: torch.nn.Module, config: dict[str, Any], classes: Sequence[str], epoch: int | None = None
    ) -> dict[str, Any]:
        """Load the weights that `train.py` left in the folder.

        Args:
            config: of the training, see `identity.training_config`.
            classes: of the images that will be measured.
            epoch: after which they were kept; None: the last one.

        Returns:
            epoch, epochs, accuracy, precision, trained_on (the stretches).
        """
        state, epochs = self.load(config, ("data", "precision"), classes), config["recipe"]["epochs"]
        command = "python train.py with the same arguments"
        if state is None:
            others = [f"model.{key}={value}" for key, value in LIBRARY_WEIGHTS.items() if key in config["model"]]
            choices = ", ".join([*others, "run=FOLDER of a training, or measure.trained=false"])
            raise UserError(f"no trained network in {self.folder}: run {command}, or give {choices}")
        if state["epoch"] < epochs:
            raise UserError(f"{self.folder} is trained for {state['epoch']} of {epochs} epochs: run {command}")
        epoch = epochs if epoch is None else epoch
        accuracy, weights = state["history"][-1]["accuracy"], state["model"]
        if epoch != epochs:
            accuracy, weights = self._kept_weights(epoch, epochs)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(
                f"{self.checkpoint} is of another network than model={config['model']['name']}: {_last_line(error)}"
            ) from error
        found = {"epoch": epoch, "epochs": epochs, "accuracy": accuracy, "precision": state["config"]["precision"]}
        return found | {"trained_on": trained_on(state)}

    def _check_classes(self, trained: list[str], classes: list[str]) -> None:
        """Refuse images of other classes than the network was trained for."""
        if trained != classes:
            known, here = (", ".join(each[:4]) + " .." * (len(each) > 4) for each in (trained, classes))
            raise UserError(
                f"{self.folder} was trained on the classes {known}, these images are of {here}: name the classes "
                "as in training, or measure other images from Python, with equivariance.measure"
            )

    def _kept_weights(self, epoch: int, epochs: int) -> tuple[float | None, dict[str, torch.Tensor]]:
        """Accuracy and weights after an epoch, of those that `recipe.keep` has kept."""
        path = self.kept(epoch)
        if not path.exists():
            names = [re.fullmatch(r"epoch([0-9]+)", file.stem) for file in self.folder.glob("weights/epoch*.pt")]
            known = sorted({int(name[1]) for name in names if name} | {epochs})
            raise UserError(
                f"measure.epoch={epoch}: {self.folder} has the weights of epoch {', '.join(map(str, known))}; "
                f"recipe.keep=[{epoch}] keeps others while training"
            )
        saved = read_state(path, ("accuracy", "model"))
        return saved["accuracy"], saved["model"]


def read_state(path: Path, keys: tuple[str, ...], remedy: str = ANEW) -> dict[str, Any]:
    """A dictionary that `torch.save` wrote, every byte of its contents checked against the file's own CRC-32."""
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch itself does not look at the checksums
            damaged = archive.testzip()
        state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # garbage makes the readers raise anything
        raise UserError(f"{path} is damaged; {remedy}") from error
    if not isinstance(state, dict) or (lacking := [key for key in keys if key not in state]):
        what = f": it lacks {', '.join(lacking)}" if isinstance(state, dict) else ""
        raise UserError(f"{path} is damaged{what}; {remedy}")
    return state


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a dictionary with `torch.save`; not by way of memory, as statistics may have gigabytes."""
    with atomic_file(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # of PyTorch's writer, behind the system's own error, such as a full disk
            raise error.__context__ or error from None


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write config.yaml, of a training or a measurement."""
    write_atomic(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))


def read_config(folder: Path, remedy: str) -> dict[Any, Any]:
    """What `write_config` wrote; a UserError with this way out where it is not there, or something else is."""
    try:
        found: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        return dict(found)
    except Exception as error:  # garbage makes the reader raise anything
        raise UserError(f"{folder}/config.yaml is damaged or not there; {remedy}") from error


def comparable(config: dict[str, Any]) -> dict[str, Any]:
    """As today's code would have written it: new keys of the recipe have defaults, functions no modules.

    What older ones say of partners is left out: no row depends on it.
    """
    added = {"schedule": Recipe.schedule, "warm_up": Recipe.warm_up}
    recipe = config.get("recipe")
    return _without_modules(config | {"recipe": added | recipe} if isinstance(recipe, dict) else config)


def _without_modules(config: Any) -> Any:
    """The same without nulls, and with the mere names of this package's functions, as modules may move."""
    if not isinstance(config, dict):
        return config
    return {
        key: _function(value) if key == "_target_" else _without_modules(value)
        for key, value in config.items()
        if value is not None and key != "partners"
    }


def _function(target: Any) -> Any:
    """The name of a function of this package as it is today, without its module; any other target as it is."""
    ours = isinstance(target, str) and target.startswith("equivariance.")
    return RENAMED.get(target.rpartition(".")[2], target.rpartition(".")[2]) if ours else target


def first_difference(made: dict, wanted: dict) -> tuple[str, Any, Any] | None:
    """The first key at which two configurations differ, see `comparable`, with both values; None if at none."""
    return next(_differences(comparable(made), comparable(wanted)), None)


def _differences(a: dict, b: dict, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in a | b:
        x, y = a.get(key, "(nothing)"), b.get(key, "(nothing)")
        if isinstance(x, dict) and isinstance(y, dict):
            yield from _differences(x, y, f"{prefix}{key}.")
        elif x != y:
            yield f"{prefix}{key}", x, y


def stretches_of(saved: dict[str, Any]) -> list[dict[str, Any]]:
    """The stretches that a checkpoint records, see `Run.stretches`; of an old one that it was one."""
    return saved.get("stretches") or [{"epoch": 0, "step": 0} | {key: saved.get(key) for key in PROVENANCE}]


def trained_on(saved: dict[str, Any]) -> str:
    """The stretches of a training in words: from which epoch on, hardware with threads, PyTorch, commit."""
    words = "from epoch {epoch} step {step}: {hardware}, torch {torch_version}, commit {git_commit}"
    return "; ".join(words.format(**each) for each in stretches_of(saved))


def provenance(hardware: str) -> dict[str, str]:
    """The code, the version of PyTorch and the hardware of this process."""
    return dict(zip(PROVENANCE, (git_commit(), str(torch.__version__), hardware), strict=True))


@cache
def git_commit() -> str:
    """The commit that runs, with "+" when the code was changed since; "unknown" outside a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "*.py", "conf")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
