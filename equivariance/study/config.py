"""The schema of the configuration: Hydra checks every value of conf/ and of the command line against these types.

`conf/config.yaml` names the schema first in its defaults list. Each field says beside its type which values it
takes, and `check_ranges` holds them to it; combinations are checked where the values are used. Importing this
module also registers the schema, and where the repository lies; `cli.jobs` has what conf/ asks for besides.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, cast, get_type_hints

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, OmegaConf

from equivariance.errors import UserError
from equivariance.names import NESTED, OVER, PARTS, SIMILARITIES

REPOSITORY = Path(__file__).resolve().parent.parent.parent  # where this checkout lies
CONF, EXPERIMENTS = REPOSITORY / "conf", REPOSITORY / "experiments"
LARGEST = 2**63  # beyond all integers of tensors and seeds
Holds = Callable[[Any], bool]
Range = tuple[Holds, str]  # whether a value is in it, and what is needed, in words


def shown(value: Any) -> str:
    """A value as the command line takes it: null, 0.1, [1,2]."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(least: int, below: int = LARGEST) -> Range:
    words = f"needs a whole number from {least} {'on' if below == LARGEST else f'to {below - 1}'}"
    return lambda value: type(value) is int and least <= value < below, words


def _above(least: float, words: str = "needs a number above 0", most: float = math.inf) -> Range:
    return lambda value: _number(value) and least < value <= most, words


def _one_of(*words: Any) -> Range:
    return lambda value: value in words, f"choose {', '.join(map(shown, words))}"


def _some_of(*words: str) -> Range:
    def holds(value: Any) -> bool:
        return value in words if isinstance(value, str) else _distinct(value, words.__contains__)

    return holds, f"choose {', '.join(words)}, or a list of them"


def _list(value: Any, holds: Holds) -> bool:
    return isinstance(value, list) and all(map(holds, value))


def _distinct(value: Any, holds: Holds) -> bool:
    return _list(value, holds) and 0 < len(value) == len({*value})


def _or_null(given: Range) -> Range:
    holds, words = given
    return lambda value: value is None or holds(value), f"{words}, or null"


def _numbers(above: float) -> Range:
    words = f"needs a list of numbers{' above 0' if above == 0 else ''}, one a channel of the images"
    return lambda value: _list(value, _above(above)[0]) and value != [], words


def _sides(value: Any) -> bool:
    sides = value if isinstance(value, list) else [value, value]
    return len(sides) == 2 and _list(sides, _whole(1, 2**16)[0])


def _partners(value: Any) -> bool:
    if not isinstance(value, dict):
        return isinstance(value, bool)
    layer, channel = value.get("layer"), value.get("channel")
    number = type(channel) is int and channel >= 0 and layer is not None
    return {*value} <= {"layer", "channel"} and isinstance(layer, str | None) and (channel is None or number)


def _name(value: Any) -> bool:
    """Stands in folders, tables and spreadsheets as it is: a letter first, and no way out of a folder."""
    fits = isinstance(value, str) and re.fullmatch(r"[^\W\d][\w.:/+ -]*", value)
    return bool(fits) and ".." not in value.split("/")


def choices(group: str) -> str:
    """The files of a group of conf/."""
    return f"choose one of {', '.join(sorted({each.stem for each in (CONF / group).glob('*.yaml')} - {'base'}))}"


def _keys(names: str) -> Range:
    return lambda value: isinstance(value, dict), f"needs its keys, {names}"


WORD: Range = (lambda value: isinstance(value, str) and value.isprintable() and value != "", "needs a word")
FOLDER: Range = (WORD[0], "needs a folder")
NAME: Range = (_name, "needs a name for a folder inside runs_dir: a letter, then letters, digits, spaces, .:/+-")
BOOLEAN: Range = (lambda value: isinstance(value, bool), "needs true or false")
SWITCH = _one_of("auto", True, False)
NUMBERS, ABOVE_0 = _numbers(-math.inf), _above(0)
PROBABILITY: Range = (lambda value: _number(value) and 0 <= value <= 1, "needs a number from 0 to 1")
RISING: Range = (
    lambda value: _list(value, _whole(1)[0]) and value == sorted({*value}),
    "needs a rising list of whole numbers from 1 on, such as [100,150]",
)
EPOCHS: Range = (lambda value: _list(value, _whole(0)[0]), "needs a list of epochs from 0 on, such as [0,10]")
ELEMENTS: Range = (
    lambda value: _distinct(value, lambda each: isinstance(each, str) or _number(each)),
    "needs a list of numbers or words, none of them twice, such as [90,180]",
)
PATTERNS: Range = (
    lambda value: _list(value if isinstance(value, list) else [value], WORD[0]) and value != [],
    "needs patterns of module names, such as [layer*.*,fc]",
)
MOMENTUM: Range = (lambda value: _number(value) and 0 <= value < 1, "needs a number from 0 to below 1")
DECAY: Range = (lambda value: _number(value) and value >= 0, "needs a number from 0 on")


@dataclass
class Recipe:
    """How a network is trained; see training/recipe.py for combinations."""

    epochs: Annotated[int, _whole(1)] = MISSING
    batch_size: Annotated[int, _whole(1)] = MISSING
    optimiser: Annotated[str, _one_of("adam", "adamw", "sgd")] = MISSING
    lr: Annotated[float, ABOVE_0] = MISSING
    weight_decay: Annotated[float, DECAY] = MISSING
    schedule: Annotated[str, _one_of("milestones", "one_cycle")] = "milestones"
    milestones: Annotated[Any, _or_null(RISING)] = None
    warm_up: Annotated[float | None, _or_null(_above(0, "needs a number of epochs above 0"))] = None
    factor: Annotated[float | None, _or_null(_above(0, "needs a number above 0, to 1e6", 1e6))] = None
    momentum: Annotated[float | None, _or_null(MOMENTUM)] = None
    keep: Annotated[Any, EPOCHS] = field(default_factory=list)


@dataclass
class HardwareConfig:
    """Where and how fast, see training/hardware.py."""

    device: Annotated[str, WORD] = "auto"
    precision: Annotated[str, _one_of("auto", "float32", "bfloat16")] = "auto"
    threads: Annotated[int | None, _or_null(_whole(1, 1025))] = None
    compile: Annotated[Union[bool, str], SWITCH] = "auto"  # noqa: UP007, OmegaConf reads typing's unions alone
    graph: Annotated[Union[bool, str], SWITCH] = "auto"  # noqa: UP007
    strict: Annotated[bool, BOOLEAN] = False


@dataclass
class MeasureConfig:
    """What is measured and how, see conf/measure/base.yaml."""

    name: Annotated[str, NAME] = MISSING
    transform: Annotated[Any, _keys("as conf/measure/rotation.yaml has them")] = MISSING
    similarity: Annotated[str, _one_of(*SIMILARITIES)] = MISSING
    over: Annotated[Any, _some_of(*OVER)] = "image"
    scores: Annotated[Any, _or_null(_some_of(*NESTED))] = None
    images: Annotated[int, _whole(2)] = MISSING
    image_seed: Annotated[int, _whole(0)] = MISSING
    batch_size: Annotated[int, _whole(1)] = MISSING
    blocks: Annotated[int, _whole(1, 1001)] = MISSING
    until: Annotated[float | None, _or_null(_above(0, "needs a number above 0 and below 1", 0.999999))] = None
    until_parts: Annotated[Any, _or_null(_some_of(*PARTS))] = None
    whole_accuracy: Annotated[bool | None, _or_null(BOOLEAN)] = None
    trained: Annotated[bool, BOOLEAN] = True
    epoch: Annotated[int | None, _or_null(_whole(0))] = None
    partners: Annotated[Any, (_partners, "needs true, false, or layer=NAME, and channel=NUMBER of it")] = False
    layers: Annotated[Any, _or_null(PATTERNS)] = None
    dry_run: Annotated[bool, BOOLEAN] = False
    options: str = ""  # what the command line changes, see `identity.options`


@dataclass
class WandbConfig:
    """Weights & Biases, see runs/tracking.py."""

    mode: Annotated[str, _one_of("auto", "online", "offline", "disabled")] = "auto"
    project: Annotated[str, WORD] = MISSING
    entity: Annotated[str | None, _or_null(WORD)] = None


SCHEMA = {"recipe": Recipe, "hardware": HardwareConfig, "measure": MeasureConfig, "wandb": WandbConfig}
RANGES: dict[str, Range] = {group: _keys(", ".join(keys.__annotations__)) for group, keys in SCHEMA.items()}
RANGES |= {group: (_keys("")[0], choices(group)) for group in ("dataset", "model", "aug", "measure")}
RANGES |= {
    f"{group}.{key}": hint.__metadata__[0]
    for group, keys in SCHEMA.items()
    for key, hint in get_type_hints(keys, include_extras=True).items()
    if hasattr(hint, "__metadata__")
}
RANGES |= {  # of no group; and of groups whose other keys are arguments of their `_target_`
    "seed": _whole(0),
    "run": _or_null(FOLDER),
    "data_dir": FOLDER,
    "runs_dir": FOLDER,
    "dataset.name": NAME,
    "dataset.root": FOLDER,
    "dataset.size": _or_null((_sides, "needs pixels, a whole number from 1 on, or [height,width]")),
    "dataset.mean": _or_null(NUMBERS),
    "dataset.std": _or_null(_numbers(0)),
    "dataset.statistics": _or_null(_keys("mean and std")),
    "dataset.download": BOOLEAN,
    "dataset.statistics.mean": NUMBERS,
    "dataset.statistics.std": _numbers(0),
    "model.name": NAME,
    "model._target_": WORD,
    "model.pretrained": BOOLEAN,
    "model.weights": _or_null((WORD[0], "needs the name of a file")),
    "aug.name": NAME,
    "aug.crop.padding": _whole(1, 2**15),
    "aug.flip.probability": PROBABILITY,
    "aug.cutmix.probability": PROBABILITY,
    "aug.randaugment.operations": _whole(1, 101),
    "aug.randaugment.magnitude": _whole(0, 31),
    "measure.transform._target_": WORD,
    "measure.transform.elements": ELEMENTS,
    "run_dir": FOLDER,  # last, as it has the names of groups in it
}


def check_ranges(cfg: DictConfig) -> None:
    """Refuse a value outside the range of its key; there must be all names, for the run's folder."""
    for key, (holds, words) in RANGES.items():
        group, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, group) if group else cfg
        if not OmegaConf.is_dict(node) or (name not in node and name != "name"):
            continue
        value = node.get(name)
        value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        if not holds(value):
            raise UserError(f"{key}={shown(value)}: {words}")


@cache
def content(file: Path) -> Any:
    """What a file of conf/ holds, to be read only: no command changes one, and the jobs of a sweep ask again."""
    return OmegaConf.load(file)


def chain(folder: Path, choice: str | None) -> list[Path]:
    """The file of a choice, after those that it inherits from."""
    file = folder / f"{choice}.yaml"
    if not choice or not file.exists():
        return []
    parents: Any = content(file).get("defaults", [])
    known = [str(parent) for parent in parents if isinstance(parent, str) and parent != "_self_"]
    return [inherited for parent in known for inherited in chain(folder, parent)] + [file]


def recipe_of(cfg: DictConfig) -> Recipe:
    """The recipe as a dataclass, its interpolations resolved."""
    return cast(Recipe, OmegaConf.to_object(cfg.recipe))


def plain(node: DictConfig) -> dict[str, Any]:
    """A node as plain dictionaries and lists, its interpolations resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


def experiment() -> str:
    """The name given as `experiment=NAME`, or "none"."""
    chosen = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}  # scripts compose without it
    return chosen.get("experiment") or "none"


@cache
def published_networks() -> dict[str, dict[str, Any]]:
    """The table of networks that others published, models/public.yaml, by name."""
    table: Any = OmegaConf.to_container(OmegaConf.load(Path(__file__).parent / "models/public.yaml"))
    return {name: table["sources"][row["source"]] | row for name, row in table["networks"].items()}


def _published(network: str) -> DictConfig | None:
    """The stated accuracy of a network in the table of published ones."""
    row = published_networks().get(network, {})
    return OmegaConf.create({"top1": row["top1"], "source": row["repository"]}) if row.get("top1") else None


def _public_networks(dataset: str) -> str:
    """The values of a sweep over the networks in the table of published ones that were trained on a data set."""
    return ",".join(name for name, row in published_networks().items() if row["dataset"] == dataset)


ConfigStore.instance().store(name="schema", node=SCHEMA)
OmegaConf.register_new_resolver("repository", lambda: str(REPOSITORY), replace=True)
OmegaConf.register_new_resolver("public_networks", _public_networks, replace=True)
OmegaConf.register_new_resolver("published", _published, replace=True)
