"""Shared by the tests: run an entrypoint in this process, with tiny settings and nothing outside a folder."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # there are as many workers as cores: more threads only wait

import copy
import functools
import io
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf, open_dict
from PIL import Image

from equivariance.figures import style
from equivariance.study.cli import entrypoints
from equivariance.study.config import CONF

HYDRA_MAIN = entrypoints.hydra.main
REPOSITORY = Path(__file__).resolve().parent.parent
style.STYLE["savefig.dpi"] = 100  # a picture of a ninth of the size says as much to a test


def rounding(terms: int) -> float:
    """How far two float32 sums of so many terms of size 1 may lie apart, in whatever order they are added.

    n u for each, with u = 2^-24 (Higham 2002, section 4.2). Which order, the processor's vector width decides.
    """
    return terms * 2.0**-23


SEVEN_LAYERS = rounding(7 * 20 * 9)  # of two float32 ways through CNN-7, whose filters have 20 x 3 x 3 weights


class Result:
    def __init__(self, code: int, out: str, error: str):
        self.code, self.out, self.error = code, out, error


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same weights and images each time, whichever tests ran before it."""
    torch.manual_seed(0)


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


@pytest.fixture
def run(tmp_path):
    """Call `run("train.py", "model=cnn7", ...)` as the command line would; returns code, out and error."""
    return functools.partial(command, tmp_path / "runs")


@pytest.fixture
def composed_once(monkeypatch):
    """Hydra's part of the entry points is `hydra_main`."""
    monkeypatch.setattr(entrypoints.hydra, "main", hydra_main)


@pytest.fixture
def folder(tmp_path):
    """Two classes of four images each, in both splits, of various sizes."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for index in range(4):
                pixels = generator.integers(256, size=(40 + 5 * index, 60, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{index}.png")
    return tmp_path / "images"
