"""The jobs of an experiment preset, composed as its sweep composes them; what conf/ refers to in composing."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from equivariance.study.config import CONF, EXPERIMENTS
from equivariance.study.identity import options

FOLDER = EXPERIMENTS


class Sweeps(Callback):
    """Hydra's callback: train.py leaves out what a preset sweeps over in measuring."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Hydra calls it before the sweep."""
        with read_write(config), open_dict(config):
            config.hydra.sweeper.params = swept(config.hydra.sweeper.params, config.hydra.job.name)


def swept(params: Mapping[str, Any] | None, entrypoint: str) -> dict[str, Any]:
    """What an entry point sweeps over, of a preset's `hydra.sweeper.params`: train.py over nothing of `measure`."""
    left_out = ("measure",) if entrypoint == "train" else ()  # what keys begin with
    return {str(key): value for key, value in (params or {}).items() if not str(key).startswith(left_out)}


def jobs(name: str, entrypoint: str, overrides: tuple[str, ...] = ()) -> list[DictConfig]:
    """The configurations that `python ENTRYPOINT.py experiment=NAME OVERRIDES` runs, in its order.

    Args:
        name: a preset of conf/experiment/.
        entrypoint: "train" or "measure".
        overrides: as on the command line; a sweep takes the place of the preset's.
    """
    return [*each_job(name, entrypoint, overrides)]


def each_job(name: str, entrypoint: str, overrides: tuple[str, ...] = ()) -> Iterator[DictConfig]:
    """The configurations of `jobs`, one by one.

    Hydra composes one for each choice of groups, such as `measure`, as that takes a tenth of a second; the values
    of other keys, such as `seed`, are set in copies of it.
    """
    parse = OverridesParser.create().parse_overrides
    parsed = zip(overrides, parse([*overrides]), strict=True)
    sweeps = {each.key_or_group: word for word, each in parsed if each.is_sweep_override()}
    single = tuple(word for word in overrides if word not in sweeps.values())
    chosen = (f"experiment={name}", *single)
    _, params = _composed(entrypoint, chosen)
    given = {word.partition("=")[0] for word in single}  # the command line wins over the preset
    axes = {key: f"{key}={values}" for key, values in params.items() if key not in given} | sweeps
    (points,) = BasicSweeper.split_arguments(parse([*axes.values()]), None)
    for point in points:
        groups = tuple(word for word in point if (CONF / word.partition("=")[0]).is_dir())
        cfg = preset(name, entrypoint, (*chosen[1:], *groups))
        for value in parse([word for word in point if word not in groups]):
            OmegaConf.update(cfg, value.key_or_group, value.value())
        cfg.measure.options = options([*chosen, *point], params)
        yield cfg


def preset(name: str, entrypoint: str, overrides: tuple[str, ...] = ()) -> DictConfig:
    """The configuration of a preset with these overrides, and without its sweeps."""
    return deepcopy(_composed(entrypoint, (f"experiment={name}", *overrides))[0])


@cache
def _composed(entrypoint: str, words: tuple[str, ...]) -> tuple[DictConfig, dict[str, Any]]:
    """What Hydra composes, and what is swept over."""
    with initialize_config_dir(str(CONF), version_base="1.3", job_name=entrypoint):
        cfg = compose("config", [*words], return_hydra_config=True)
    params = swept(cfg.hydra.sweeper.params, entrypoint)
    with read_write(cfg), open_dict(cfg):
        del cfg["hydra"]
    return cfg, params


def target(name: str, overrides: tuple[str, ...]) -> Path:
    """Where the rows of an experiment are gathered.

    With overrides beside folders (`runs_dir`, `data_dir`, `weights_dir`), as of networks of one's own, that is
    below the folder of runs: experiments/ holds the preset itself.
    """
    if all(override.partition("=")[0].endswith("_dir") for override in overrides):
        return FOLDER / name
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="measure"):
        return Path(compose("config", [each for each in overrides if each.startswith("runs_dir=")]).runs_dir) / name


def _timm_models(models: str | list[str], pretrained: bool) -> str:
    """The values of a sweep over these networks, see `models.library.select`."""
    from equivariance.study.models.library import select  # here, as importing timm takes a second

    return ",".join(select(models, pretrained))


# What conf/ asks for when it is composed, besides what `config` knows.
OmegaConf.register_new_resolver("timm_models", _timm_models, replace=True)
