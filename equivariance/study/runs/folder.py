"""A run's folder: its files, the configuration that identifies it, and a lock for one writer at a time."""

import hashlib
import io
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from equivariance.errors import UserError
from equivariance.files import remove_leftovers, write_atomic
from equivariance.study.config import REPOSITORY, Recipe, plain

if TYPE_CHECKING:
    from equivariance.study.training.trainer import Training

LIBRARY_WEIGHTS = {"pretrained": "true", "weights": "..."}
PROVENANCE = ("git_commit", "torch_version", "hardware")
PLACES = ("root", "download")  # where data lie, not what they are
ORIGINS = ("weights", "weights_key", "weights_dir", "published")  # of weights; their digest says what they are
SCORING = ("transform", "similarity", "over", "images", "image_seed", "blocks", "trained", "layers")


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
            raise UserError(
                f"{self.folder} is in use by another process; wait for it, or choose another run_dir"
            ) from error
        try:
            remove_leftovers(self.folder)
            remove_leftovers(self.kept(0).parent)
            yield
        finally:
            lock.release()

    def load(self, config: dict[str, Any], ignore: tuple[str, ...] = ()) -> dict[str, Any] | None:
        """The checkpoint of this folder, None if there is none; a UserError for that of another configuration."""
        if not self.checkpoint.exists():
            return None
        state = read_state(self.checkpoint, ("config", "epoch", "model"), "delete it to train again from the start")
        made_with = state["config"]
        wanted = config | {key: made_with.get(key) for key in ignore}
        if difference := first_difference(_comparable(made_with), _comparable(wanted)):
            key, there, here = difference
            raise UserError(
                f"{self.folder} holds a run with {key}={there}, this one has {key}={here}; "
                f"choose another run_dir, or delete the folder"
            )
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint, whole or not at all."""
        write_atomic(self.checkpoint, _serialised(state))

    def write_config(self, config: dict[str, Any]) -> None:
        write_atomic(self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))

    def write_metrics(self, history: list[dict[str, float]]) -> None:
        write_atomic(self.folder / "metrics.csv", pd.DataFrame(history).to_csv(index=False))

    def stretches(self, saved: dict[str, Any] | None, here: dict[str, str], strict: bool) -> list[dict[str, Any]]:
        """Where each part of the run was trained: the place in which it began (epoch, step), and its provenance.

        The last one begins now, unless nothing has changed. A change that may change the weights, of the hardware
        (with the number of threads) or of PyTorch, is printed, or refused where `strict`.
        """
        if saved is None:
            return [{"epoch": 0, "step": 0} | here]
        before = stretches_of(saved)
        last = before[-1]
        changed = [
            f"{last[key]}, now {here[key]}" for key in ("hardware", "torch_version") if last[key] != here[key]
        ]
        if changed:
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
            write_atomic(self.kept(training.epoch), _serialised(state))


def read_state(path: Path, keys: tuple[str, ...], remedy: str) -> dict[str, Any]:
    """A dictionary that `torch.save` wrote, every byte of its contents checked against the file's own CRC-32."""
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch itself does not look at the checksums
            damaged = archive.testzip()
        state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # garbage makes the readers raise anything
        raise UserError(f"{path} is damaged; {remedy}") from error
    if not isinstance(state, dict) or any(key not in state for key in keys):
        raise UserError(f"{path} is damaged; {remedy}")
    return state


def _serialised(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def measurement_folder(cfg: DictConfig) -> Path:
    """Where `measure.py` writes: below the run, by its name; untrained networks and given weights apart.

    Given weights go by the name of their file and the beginning of the SHA-256 of its content.
    """
    weights = cfg.model.get("weights")
    kind = "-untrained" if not cfg.measure.trained else f"-{_file_tag(weights)}" if weights else ""
    if cfg.measure.trained and cfg.measure.epoch is not None:
        kind += f"-epoch{cfg.measure.epoch}"
    return Path(cfg.run_dir) / "measure" / (cfg.measure.name + kind)


@cache
def _file_tag(weights: str) -> str:
    path = Path(weights)
    if not path.is_file():  # whoever loads it says so
        return path.stem
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:8]
    return path.stem if path.stem.endswith(digest) else f"{path.stem}-{digest}"  # torch.hub's files end so


def training_config(cfg: DictConfig, data_digest: str, precision: str) -> dict[str, Any]:
    """All that decides a trained network's weights, as plain values."""
    config = {key: plain(cfg[key]) for key in ("dataset", "model", "aug", "recipe")}
    for place in PLACES:
        config["dataset"].pop(place, None)
    del config["recipe"]["keep"]  # what is kept on the way changes no weight
    return config | {"seed": cfg.seed, "precision": precision, "data": data_digest}


def measurement_config(cfg: DictConfig, network: DictConfig, **identity: Any) -> dict[str, Any]:
    """All that decides a measurement's rows, as plain values.

    Args:
        network: the configuration group `model`, as the network was built.
        identity: of the images, the weights and what the network computes.
    """
    model, measure = plain(network), plain(cfg.measure)
    given = {key: value for key, value in model.items() if key not in ORIGINS}
    scores = {"scores": measure["scores"]} if measure["scores"] else {}  # older measurements do not have the key
    return {"model": given, "measure": {key: measure[key] for key in SCORING} | scores} | identity


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    """A run's configuration as today's code would have written it: new keys of the recipe have defaults."""
    added = {"schedule": Recipe.schedule, "warm_up": Recipe.warm_up}
    recipe = config.get("recipe")
    return _without_modules(config | {"recipe": added | recipe} if isinstance(recipe, dict) else config)


def _without_modules(config: Any) -> Any:
    """The same without nulls, and with the mere names of this package's functions, as modules may move."""
    if not isinstance(config, dict):
        return config
    return {
        key: value.rpartition(".")[2]
        if key == "_target_" and isinstance(value, str) and value.startswith("equivariance.")
        else _without_modules(value)
        for key, value in config.items()
        if value is not None
    }


def first_difference(a: dict, b: dict, prefix: str = "") -> tuple[str, Any, Any] | None:
    """The first key at which two nested dicts differ, with both values; None if they are equal."""
    for key in a | b:
        x, y = a.get(key, "(nothing)"), b.get(key, "(nothing)")
        if isinstance(x, dict) and isinstance(y, dict):
            if found := first_difference(x, y, f"{prefix}{key}."):
                return found
        elif x != y:
            return f"{prefix}{key}", x, y
    return None


def stretches_of(saved: dict[str, Any]) -> list[dict[str, Any]]:
    """The stretches that a checkpoint records, see `Run.stretches`; of an old one that it was one."""
    return saved.get("stretches") or [{"epoch": 0, "step": 0} | {key: saved.get(key) for key in PROVENANCE}]


def trained_on(saved: dict[str, Any]) -> str:
    """The stretches of a training in words: from which epoch on, hardware with threads, PyTorch, commit."""
    return "; ".join(
        f"from epoch {each['epoch']} step {each['step']}: {each['hardware']}, torch {each['torch_version']}, "
        f"commit {each['git_commit']}"
        for each in stretches_of(saved)
    )


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


def load_weights(model: torch.nn.Module, cfg: DictConfig, run: Run) -> dict[str, Any]:
    """Load the weights that `train.py` left in the run's folder; returns epochs, accuracy, precision, stretches."""
    command = "python train.py with the same arguments"
    config = training_config(cfg, "", "")
    state = run.load(config, ignore=("data", "precision"))
    if state is None:
        others = [f"model.{key}={value}" for key, value in LIBRARY_WEIGHTS.items() if key in cfg.model]
        choices = ", ".join([*others, "or measure.trained=false"])
        raise UserError(f"no trained network in {run.folder}: run {command}, {choices}")
    if state["epoch"] < cfg.recipe.epochs:
        raise UserError(
            f"{run.folder} is trained for {state['epoch']} of {cfg.recipe.epochs} epochs: run {command}"
        )
    accuracy, weights = state["history"][-1]["accuracy"], state["model"]
    epoch = state["epoch"] if cfg.measure.epoch is None else cfg.measure.epoch
    if epoch != state["epoch"]:
        accuracy, weights = _kept_weights(run, epoch, cfg.recipe.epochs)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise UserError(f"{run.checkpoint} is of another network than model={cfg.model.name}: {detail}") from error
    precision = state["config"]["precision"]
    found = {"epoch": epoch, "epochs": state["epoch"], "accuracy": accuracy, "precision": precision}
    return found | {"trained_on": trained_on(state)}


def _kept_weights(run: Run, epoch: int, epochs: int) -> tuple[float | None, dict[str, torch.Tensor]]:
    """Accuracy and weights after an epoch, of those that `recipe.keep` has kept."""
    path = run.kept(epoch)
    if not path.exists():
        known = sorted(int(each.stem.removeprefix("epoch")) for each in run.folder.glob("weights/epoch*.pt"))
        kept = ", ".join(map(str, [*known, epochs])) if epochs not in known else ", ".join(map(str, known))
        raise UserError(
            f"measure.epoch={epoch}: {run.folder} has the weights of epoch {kept}; "
            f"recipe.keep=[{epoch}] keeps others while training"
        )
    saved = read_state(path, ("accuracy", "model"), "delete the run's folder to train again")
    return saved["accuracy"], saved["model"]
