"""The schema of the configuration: Hydra checks every value of conf/ and of the command line against these types.

`conf/config.yaml` names the schema first in its defaults list. `check_ranges` checks the range of each value by
itself; combinations are checked where the values are used. Importing this module also registers the resolvers of
conf/.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union, cast, get_args, get_type_hints

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, OmegaConf

from equivariance.errors import UserError
from equivariance.names import NAME_NEEDS, OVER, SIMILARITIES, is_name

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@dataclass
class Recipe:
    """How a network is trained; see `RANGES`, and training/recipe.py for combinations."""

    epochs: int = MISSING
    batch_size: int = MISSING
    optimiser: str = MISSING  # adam, adamw, sgd
    lr: float = MISSING
    weight_decay: float = MISSING  # an L2 term of the gradient (coupled); of adamw decoupled
    schedule: str = "milestones"  # milestones, one_cycle
    milestones: list[int] | None = None  # epochs after which lr is divided by `factor`
    warm_up: float | None = None  # epochs, of one_cycle
    factor: float | None = None
    momentum: float | None = None  # of sgd
    keep: list[int] = field(default_factory=list)  # epochs after which the weights are kept, 0: untrained


@dataclass
class HardwareConfig:
    """Where and how fast, see training/hardware.py."""

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    compile: Union[bool, str] = "auto"  # noqa: UP007, OmegaConf reads typing's unions alone
    graph: Union[bool, str] = "auto"  # noqa: UP007
    strict: bool = False


@dataclass
class MeasureConfig:
    """What is measured and how, see conf/measure/rotation.yaml."""

    name: str = MISSING
    transform: Any = MISSING
    similarity: str = MISSING
    over: Any = "image"  # one of names.OVER, or a list of them
    scores: Any = None  # of names.NESTED
    images: int = MISSING
    image_seed: int = MISSING
    batch_size: int = MISSING
    blocks: int = MISSING
    whole_accuracy: bool | None = None
    trained: bool = True
    epoch: int | None = None
    partners: Any = False
    layers: Any = None
    dry_run: bool = False


@dataclass
class WandbConfig:
    """Weights & Biases, see runs/tracking.py."""

    mode: str = "auto"
    project: str = MISSING
    entity: str | None = None


SCHEMA = {"recipe": Recipe, "hardware": HardwareConfig, "measure": MeasureConfig, "wandb": WandbConfig}
NEEDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word",
    list[int]: "a list of whole numbers, such as [1,2]",
    Union[bool, str]: "auto, true or false",  # noqa: UP007
}


LARGEST = 2**63  # beyond all integers of tensors and seeds
Range = tuple[Callable[[Any], bool], str]  # whether a value is in it, and what is needed, in words


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(least: int, below: int = LARGEST) -> Range:
    def holds(value: Any) -> bool:
        return type(value) is int and least <= value < below

    return holds, f"needs a whole number from {least} {'on' if below == LARGEST else f'to {below - 1}'}"


def _one_of(*words: str) -> Range:
    return lambda value: value in words, f"choose {', '.join(words)}"


def _or_null(given: Range) -> Range:
    holds, words = given
    return lambda value: value is None or holds(value), f"{words}, or null"


def _rising(value: Any) -> bool:
    return isinstance(value, list) and value == sorted({*value}) and all(epoch > 0 for epoch in value)


def _numbers(above: float) -> Range:
    def holds(value: Any) -> bool:
        numbers = value if isinstance(value, list) else [value]
        return bool(numbers) and all(_number(each) and each > above for each in numbers)

    return holds, f"needs numbers{' above 0' if above == 0 else ''}, one a channel of the images"


def _sides(value: Any) -> bool:
    sides = value if isinstance(value, list) else [value, value]
    return len(sides) == 2 and all(type(side) is int and 0 < side < 2**16 for side in sides)


def _over(value: Any) -> bool:
    readings = value if isinstance(value, list) else [value]
    return bool(readings) and all(each in OVER for each in readings) and len(readings) == len({*readings})


def _patterns(value: Any) -> bool:
    patterns = value if isinstance(value, list) else [value]
    return bool(patterns) and all(isinstance(each, str) and each != "" for each in patterns)


def _partners(value: Any) -> bool:
    if not isinstance(value, dict):
        return isinstance(value, bool)
    layer, channel = value.get("layer"), value.get("channel")
    number = type(channel) is int and channel >= 0 and layer is not None
    return {*value} <= {"layer", "channel"} and isinstance(layer, str | None) and (channel is None or number)


def _elements(value: Any) -> bool:
    known = isinstance(value, list) and all(isinstance(each, str) or _number(each) for each in value)
    return known and 0 < len(value) == len({*value})


WORD: Range = (lambda value: isinstance(value, str) and value.isprintable() and value != "", "needs a word")
FOLDER: Range = (WORD[0], "needs a folder")
BOOLEAN: Range = (lambda value: isinstance(value, bool), "needs true or false")
RANGES: dict[str, Range] = {
    "seed": _whole(0),
    "data_dir": FOLDER,
    "runs_dir": FOLDER,
    "run_dir": FOLDER,
    "recipe.epochs": _whole(1),
    "recipe.batch_size": _whole(1),
    "recipe.optimiser": _one_of("adam", "adamw", "sgd"),
    "recipe.lr": (lambda value: _number(value) and value > 0, "needs a number above 0"),
    "recipe.weight_decay": (lambda value: _number(value) and value >= 0, "needs a number from 0 on"),
    "recipe.schedule": _one_of("milestones", "one_cycle"),
    "recipe.milestones": _or_null((_rising, "needs a rising list of whole numbers from 1 on, such as [100,150]")),
    "recipe.warm_up": _or_null((lambda value: _number(value) and value > 0, "needs a number of epochs above 0")),
    "recipe.factor": _or_null((lambda value: _number(value) and value > 0, "needs a number above 0")),
    "recipe.momentum": _or_null(
        (lambda value: _number(value) and 0 <= value < 1, "needs a number from 0 to below 1")
    ),
    "recipe.keep": (lambda value: all(epoch >= 0 for epoch in value), "needs whole numbers of epochs from 0 on"),
    "hardware.threads": _or_null(_whole(1, 1025)),
    "hardware.precision": _one_of("auto", "float32", "bfloat16"),
    "hardware.compile": (lambda value: value in ("auto", True, False), "choose auto, true or false"),
    "hardware.graph": (lambda value: value in ("auto", True, False), "choose auto, true or false"),
    "wandb.mode": _one_of("auto", "online", "offline", "disabled"),
    **dict.fromkeys(("dataset.name", "model.name", "aug.name"), (is_name, NAME_NEEDS)),
    "dataset.root": FOLDER,
    "dataset.size": _or_null((_sides, "needs pixels, a whole number from 1 on, or [height,width]")),
    "dataset.mean": _or_null(_numbers(-math.inf)),
    "dataset.std": _or_null(_numbers(0)),
    "dataset.download": BOOLEAN,
    "model._target_": WORD,
    "model.pretrained": BOOLEAN,
    "model.weights": _or_null((WORD[0], "needs the name of a file")),
    "measure.similarity": _one_of(*SIMILARITIES),
    "measure.over": (_over, f"choose {', '.join(OVER)}, or a list of them"),
    "measure.images": _whole(2),
    "measure.image_seed": _whole(0),
    "measure.batch_size": _whole(1),
    "measure.blocks": _whole(1, 1001),
    "measure.epoch": _or_null(_whole(0)),
    "measure.partners": (_partners, "needs true, false, or layer=NAME, and channel=NUMBER of it"),
    "measure.layers": _or_null((_patterns, "needs patterns of module names, such as [layer*.*,fc]")),
    "measure.transform": (
        lambda value: isinstance(value, dict),
        "needs its keys, as conf/measure/rotation.yaml has",
    ),
    "measure.transform._target_": WORD,
    "measure.transform.elements": (
        _elements,
        "needs a list of numbers or words, none of them twice, such as [90,180]",
    ),
}


def check_ranges(cfg: DictConfig) -> None:
    """Refuse a value outside the range of its key, see `RANGES`."""
    for key, (holds, words) in RANGES.items():
        group, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, group) if group else cfg
        if not OmegaConf.is_dict(node) or name not in node:
            continue
        value = node[name]
        value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        if not holds(value):
            raise UserError(f"{key}={shown(value)}: {words}")


def shown(value: Any) -> str:
    """A value as the command line takes it: null, 0.1, [1,2]."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def recipe_of(cfg: DictConfig) -> Recipe:
    """The recipe as a dataclass, its interpolations resolved."""
    return cast(Recipe, OmegaConf.to_object(cfg.recipe))


def plain(node: DictConfig) -> dict[str, Any]:
    """A node as plain dictionaries and lists, its interpolations resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


def needs(key: str) -> str | None:
    """What the schema wants as the value of a key such as `recipe.epochs`, in words; None for keys not in it."""
    node, _, name = key.partition(".")
    hint: Any = get_type_hints(SCHEMA[node]).get(name) if node in SCHEMA else None
    if hint in NEEDS:
        return NEEDS[hint]
    required = [kind for kind in get_args(hint) if kind is not type(None)]
    return f"{NEEDS[required[0]]}, or null" if required else None


def experiment() -> str:
    """The name given as `experiment=NAME`, or "none"."""
    return HydraConfig.get().runtime.choices.get("experiment") or "none"


def _angles_name(*, _parent_: DictConfig) -> str:
    """The name of a measurement of rotations: other angles than quarter turns have a folder of their own."""
    transform = _parent_.get("transform")
    elements: Any = transform.get("elements") if OmegaConf.is_dict(transform) else None
    angles = list(elements) if OmegaConf.is_list(elements) else []  # what is no list is refused by name
    quarter = all(degrees in (90, 180, 270) for degrees in angles)
    return "rotation" if quarter else "-".join(["rotation", *map(str, angles)])


def _timm_models(models: str | list[str], pretrained: bool) -> str:
    """The values of a sweep over these networks, see `models.library.select`."""
    from equivariance.study.models.library import select  # here, as importing timm takes a second

    return ",".join(select(models, pretrained))


def _published(network: str) -> DictConfig | None:
    """The stated accuracy of a network in the table of published ones."""
    from equivariance.study.models.public import published  # here, as importing torch takes seconds

    found = published(network)
    return None if found is None else OmegaConf.create(found)


def _public_networks(dataset: str) -> str:
    """The values of a sweep over the networks in the table of published ones that were trained on a data set."""
    from equivariance.study.models.public import table  # here, as importing torch takes seconds

    return ",".join(name for name, row in table().items() if row["dataset"] == dataset)


ConfigStore.instance().store(name="schema", node=SCHEMA)
# Paths and sweeps in conf/ that depend on where the repository lies and on which entry point reads them.
OmegaConf.register_new_resolver("repository", lambda: str(REPOSITORY), replace=True)
OmegaConf.register_new_resolver("measuring", lambda job, yes, no: yes if job == "measure" else no, replace=True)
OmegaConf.register_new_resolver("timm_models", _timm_models, replace=True)
OmegaConf.register_new_resolver("angles_name", _angles_name, replace=True)
OmegaConf.register_new_resolver("public_networks", _public_networks, replace=True)
OmegaConf.register_new_resolver("published", _published, replace=True)
