"""What identifies a training and a measurement: their folders, and the values that decide their results."""

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from equivariance.errors import UserError
from equivariance.study.config import CONF, Recipe, chain, experiment, plain

PLACES = ("root", "download")  # where data lie, not what they are
ORIGINS = ("weights", "weights_key", "weights_dir", "published")  # of weights; their digest says what they are
SCORING = ("transform", "similarity", "over", "images", "image_seed", "blocks", "trained", "layers")
NOT_NAMED = {"trained", "epoch", "partners", "dry_run", "batch_size", "whole_accuracy", "options"}


def options(words: Iterable[str], swept: Iterable[str] = ()) -> str:
    """What a command line changes of a preset's measure, for the folder's name: "-15-30-images100-over-dataset".

    Elements stand first and without their key. A value that is long or has other signs is named by a digest.

    Args:
        words: the overrides, such as "measure.images=100".
        swept: keys that the preset itself sweeps over, and names its folders by.
    """
    found: dict[str, str] = {}
    for word in words:
        key, _, value = word.lstrip("+~").partition("=")
        group, _, name = key.partition(".")
        if group != "measure" or not name or key in swept or name.partition(".")[0] in NOT_NAMED:
            continue
        if name == "name":  # whoever gives one wants that one
            return ""
        text = "-".join(re.findall(r"[^\[\]{},'\"\s]+", value))
        if not re.fullmatch(r"[\w.+-]{1,40}", text):
            text = hashlib.blake2b(value.encode(), digest_size=4).hexdigest()
        name = name.removeprefix("transform.")
        between = "" if text.isdecimal() else "-"
        found[name] = f"-{text}" if name == "elements" else f"-{name}{between}{text}"
    return found.pop("elements", "") + "".join(found[name] for name in sorted(found))


def measurement_folder(cfg: DictConfig) -> Path:
    """Where `measure.py` writes: below the run, by the measure's name and what the command line changes of it.

    Untrained networks, given weights and epochs have folders of their own; weights go by the name of their file and
    the beginning of the SHA-256 of its content. A measurement from before there were names for options, which has
    them and stands in the preset's folder, is found there.
    """
    weights = cfg.model.get("weights")
    kind = "-untrained" if not cfg.measure.trained else f"-{_file_tag(weights)}" if weights else ""
    if cfg.measure.trained and cfg.measure.epoch is not None:
        kind += f"-epoch{cfg.measure.epoch}"
    presets = Path(cfg.run_dir) / "measure" / (cfg.measure.name + kind)
    if not cfg.measure.options or _holds(presets, scoring(cfg)):
        return presets
    return presets.with_name(cfg.measure.name + cfg.measure.options + kind)


def _holds(folder: Path, measure: dict[str, Any]) -> bool:
    """Whether a folder has a measurement of these very values of `measure`."""
    from equivariance.study.runs.folder import first_difference, read_config  # which load PyTorch

    try:
        made = read_config(folder, "measure again")
    except UserError:
        return False
    return not first_difference({"measure": made.get("measure")}, {"measure": measure})


@cache
def _file_tag(weights: str) -> str:
    path = Path(weights)
    if not path.is_file():  # whoever loads it says so
        return path.stem
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:8]
    return path.stem if path.stem.endswith(digest) else f"{path.stem}-{digest}"  # torch.hub's files end so


def training_config(cfg: DictConfig, **identity: Any) -> dict[str, Any]:
    """All that decides a trained network's weights, as plain values.

    Args:
        identity: digests of the data and of what the network computes, and the precision.
    """
    config = {key: plain(cfg[key]) for key in ("dataset", "model", "aug", "recipe")}
    for place in PLACES:
        config["dataset"].pop(place, None)
    del config["recipe"]["keep"]  # what is kept on the way changes no weight
    return config | {"seed": cfg.seed} | identity


def measurement_config(cfg: DictConfig, network: DictConfig, **identity: Any) -> dict[str, Any]:
    """All that decides a measurement's rows, as plain values.

    Args:
        network: the configuration group `model`, as the network was built.
        identity: of the images, the weights and what the network computes.
    """
    given = {key: value for key, value in plain(network).items() if key not in ORIGINS}
    return {"model": given, "measure": scoring(cfg)} | identity


def scoring(cfg: DictConfig) -> dict[str, Any]:
    """The values of `measure` that decide its rows."""
    measure = plain(cfg.measure)
    given = {key: measure[key] for key in ("scores", "until", "until_parts") if measure[key]}  # older have no keys
    return {key: measure[key] for key in SCORING} | given


def about(cfg: DictConfig) -> dict[str, Any]:
    """What all rows of a measurement say of its network."""
    names = {group: cfg[group].name for group in ("dataset", "model", "aug")}
    width, trained = cfg.model.get("width"), cfg.measure.trained
    return {"experiment": experiment()} | names | {"width": width, "trained": trained, "seed": cfg.seed}


def tracking(cfg: DictConfig) -> dict[str, Any]:
    """What Weights & Biases is told of a job, as arguments of `tracking.tracked`."""
    settings = plain(cfg.wandb) | {"group": experiment(), "dir": cfg.runs_dir}
    return {"settings": settings, "config": plain(cfg) | flat(cfg)}


def flat(cfg: DictConfig) -> dict[str, Any]:
    """What experiments vary, as plain keys to group by; `curve` joins them and names a mean over seeds."""
    varied = {
        "data": cfg.dataset.name,
        "network": cfg.model.name,
        "augmentation": cfg.aug.name,
        "width": cfg.model.get("width"),
        "trained": cfg.measure.trained,
        "weights": Path(cfg.model.weights).stem if cfg.model.get("weights") else None,
        "epoch": cfg.measure.get("epoch"),
        "measured": cfg.measure.name,
        "over": str(cfg.measure.get("over")),
    }
    trained = "trained" if cfg.measure.trained else "untrained"
    epoch = None if varied["epoch"] is None else f"epoch {varied['epoch']}"
    words = [*(varied[key] for key in ("data", "network", "augmentation", "weights")), trained, epoch]
    words += [varied["measured"], varied["over"]]
    return varied | {"curve": ", ".join(filter(None, words))}


def of_run(cfg: DictConfig) -> DictConfig:
    """The configuration of `run=FOLDER`: the training's, from its checkpoint, and all else as given."""
    from equivariance.study.runs.folder import Run  # here, as importing torch takes seconds

    run = Run(Path(cfg.run))
    if (saved := run.checkpoint_state()) is None:
        raise UserError(f"run={cfg.run}: there is no checkpoint.pt; train.py makes one")
    cfg = cfg.copy()
    try:
        with open_dict(cfg):
            cfg.dataset = _moved(saved["config"]["dataset"]) | _places(cfg.dataset, saved["config"]["dataset"])
            cfg.model, cfg.aug = (_moved(saved["config"][group]) for group in ("model", "aug"))
            cfg.recipe = OmegaConf.merge(OmegaConf.structured(Recipe), saved["config"]["recipe"])
            cfg.seed, cfg.run_dir = saved["config"]["seed"], str(run.folder)
    except (KeyError, TypeError, AttributeError, OmegaConfBaseException) as error:
        raise UserError(f"{run.checkpoint} has no training's configuration ({error}); give another run") from error
    return cfg


def _places(given: DictConfig, trained_on: dict[str, Any]) -> dict[str, Any]:
    """Where the data of a training lie: as given on the command line, or as conf/dataset/ says."""
    names = trained_on["name"], trained_on["_target_"].rpartition(".")[2]
    files = next(filter(None, (chain(CONF / "dataset", name) for name in names)), [])
    there: Any = OmegaConf.to_container(OmegaConf.merge({}, *map(OmegaConf.load, files)))
    places = {key: there[key] for key in PLACES if key in there}
    if "root" in given and not OmegaConf.is_interpolation(given, "root"):
        places["root"] = given.root
    return places


def _moved(value: Any) -> Any:
    """A configuration of before the study had its own folder, with the functions where they are today."""
    if not isinstance(value, dict):
        return value
    moved = {key: _moved(each) for key, each in value.items()}
    if "_target_" in moved:
        moved["_target_"] = re.sub(r"^equivariance\.(data|models)\.", r"equivariance.study.\1.", moved["_target_"])
    return moved
