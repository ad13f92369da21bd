"""The schema of the configuration: Hydra checks every value of conf/ and of the command line against these types.

`conf/config.yaml` names the schema first in its defaults list. Ranges and combinations are checked where a value is
used. Importing this module also registers the resolvers of conf/.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union, cast, get_args, get_type_hints

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, OmegaConf

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass
class Recipe:
    """How a network is trained; see training/recipe.py for ranges."""

    epochs: int = MISSING
    batch_size: int = MISSING
    optimiser: str = MISSING  # adam, sgd
    lr: float = MISSING
    weight_decay: float = MISSING  # an L2 term of the gradient (coupled)
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
    exact_eager: bool = False


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
    whole_accuracy: bool = False
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


def recipe_of(cfg: DictConfig) -> Recipe:
    """The recipe as a dataclass, its interpolations resolved."""
    recipe = OmegaConf.to_object(cfg.recipe)
    assert isinstance(recipe, Recipe)
    return recipe


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


def _angles_name(elements: Any) -> str:
    """The name of a measurement of rotations: other angles than quarter turns have a folder of their own."""
    angles = list(elements) if OmegaConf.is_list(elements) else [elements]
    quarter = all(degrees in (90, 180, 270) for degrees in angles)
    return "rotation" if quarter else "-".join(["rotation", *map(str, angles)])


def _timm_models(models: str | list[str], pretrained: bool) -> str:
    """The values of a sweep over these networks, see `models.library.select`."""
    from equivariance.models.library import select  # here, as importing timm takes a second

    return ",".join(select(models, pretrained))


def _published(network: str) -> dict | None:
    """The stated accuracy of a network in the table of published ones."""
    from equivariance.models.public import published  # here, as importing torch takes seconds

    return published(network)


ConfigStore.instance().store(name="schema", node=SCHEMA)
# Paths and sweeps in conf/ that depend on where the repository lies and on which entry point reads them.
OmegaConf.register_new_resolver("repository", lambda: str(REPOSITORY), replace=True)
OmegaConf.register_new_resolver("measuring", lambda job, yes, no: yes if job == "measure" else no, replace=True)
OmegaConf.register_new_resolver("timm_models", _timm_models, replace=True)
OmegaConf.register_new_resolver("angles_name", _angles_name, replace=True)
OmegaConf.register_new_resolver("published", _published, replace=True)
