"""The jobs of an experiment preset, composed as its sweep composes them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from equivariance.study.checkout import CONF, EXPERIMENTS
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
    training = entrypoint == "train"
    return {
        str(key): value
        for key, value in (params or {}).items()
        if not (training and str(key).startswith("measure"))
    }


def jobs(name: str, entrypoint: str, overrides: tuple[str, ...] = ()) -> list[DictConfig]:
    """The configurations that `python ENTRYPOINT.py experiment=NAME OVERRIDES` runs, in its order.

    Args:
        name: a preset of conf/experiment/.
        entrypoint: "train" or "measure".
        overrides: as on the command line, without sweeps.
    """
    return [*each_job(name, entrypoint, overrides)]


def each_job(name: str, entrypoint: str, overrides: tuple[str, ...] = ()) -> Iterator[DictConfig]:
    """The configurations of `jobs`, each composed when it is asked for: many take seconds."""
    chosen = [f"experiment={name}", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3", job_name=entrypoint):
        preset = compose("config", chosen, return_hydra_config=True)
        given = {override.partition("=")[0] for override in overrides}  # the command line wins over the preset
        params = swept(preset.hydra.sweeper.params, entrypoint)
        axes = [f"{key}={values}" for key, values in params.items() if key not in given]
        (points,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(axes), None)
        for point in points:
            cfg = compose("config", chosen + point)
            cfg.measure.options = options(chosen + point, params)
            yield cfg


def target(name: str, overrides: tuple[str, ...]) -> Path:
    """Where the rows of an experiment are gathered.

    With overrides beside folders (`runs_dir`, `data_dir`, `weights_dir`), as of networks of one's own, that is
    below the folder of runs: experiments/ holds the preset itself.
    """
    if all(override.partition("=")[0].endswith("_dir") for override in overrides):
        return FOLDER / name
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="measure"):
        return Path(compose("config", [each for each in overrides if each.startswith("runs_dir=")]).runs_dir) / name
