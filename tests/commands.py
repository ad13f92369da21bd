"""Run an entry point in the process of the tests, with tiny settings and nothing outside a folder."""

import copy
import functools
import io
import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf, open_dict

from equivariance.study.cli import entrypoints
from equivariance.study.config import CONF
from tests.conftest import REPOSITORY

HYDRA_MAIN = entrypoints.hydra.main


class Result:
    def __init__(self, code: int, out: str, error: str):
        self.code, self.out, self.error = code, out, error


@functools.cache
def preset(program, choices):
    """Hydra's configuration and ours for these choices of groups, composed once."""
    with initialize_config_dir(str(CONF), version_base="1.3", job_name=program):
        words = [*choices, "wandb.mode=disabled", "hardware.threads=1", "hydra.mode=RUN"]
        cfg = compose("config", words, return_hydra_config=True)
    with open_dict(cfg):
        return OmegaConf.create({"hydra": cfg.pop("hydra")}), cfg


def hydra_main(**settings):
    """`hydra.main`, but that one composed configuration serves all commands with the same choices of groups.

    To compose takes Hydra a tenth of a second, twice in a command; what it does with the other words is the same.
    Sweeps, presets and words to Hydra itself go through all of it.
    """

    def decorate(task):
        def run():
            words, program = sys.argv[1:], Path(sys.argv[0]).stem
            if any(word.startswith(("-", "hydra", "experiment=")) for word in words):
                return HYDRA_MAIN(**settings)(task)()
            choices = [word for word in words if "=" in word and (CONF / word.partition("=")[0]).is_dir()]
            hydra, cfg = preset(program, tuple(choices))
            hydra.hydra.overrides.task = words
            HydraConfig.instance().cfg, cfg = hydra, copy.deepcopy(cfg)
            given = OverridesParser.create().parse_overrides([word for word in words if word not in choices])
            ConfigLoaderImpl._apply_overrides_to_config(given, cfg)
            task(cfg)

        return run

    return decorate


def command(runs: Path, script: str, *arguments: str) -> Result:
    """`script` in this process, as the command line would call it, with its runs below a folder."""
    common = (f"runs_dir={runs}", "wandb.mode=disabled", f"hardware.threads={os.environ['OMP_NUM_THREADS']}")
    given = {argument.split("=")[0] for argument in arguments}
    extra = [argument for argument in common if argument.split("=")[0] not in given and "--help" not in given]
    code, message, out, error = 0, "", io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(error):
        patch.setattr(sys, "argv", [str(REPOSITORY / script), *extra, *arguments])
        patch.delenv("HYDRA_FULL_ERROR", raising=False)
        patch.setattr(entrypoints.hydra, "main", hydra_main)
        try:
            runpy.run_path(str(REPOSITORY / script), run_name="__main__")
        except SystemExit as exit:
            code, message = (exit.code or 0, "") if not isinstance(exit.code, str) else (1, exit.code)
        finally:
            os.environ.pop("HYDRA_FULL_ERROR", None)
    return Result(code, out.getvalue(), error.getvalue() + message)
