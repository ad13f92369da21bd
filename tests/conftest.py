"""Shared by the tests. What takes seconds to import is imported by who uses it: xdist's first process does not."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # there are as many workers as cores: more threads only wait

import functools
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def rounding(terms: int) -> float:
    """How far two float32 sums of so many terms of size 1 may lie apart, in whatever order they are added.

    n u for each, with u = 2^-24 (Higham 2002, section 4.2). Which order, the processor's vector width decides.
    """
    return terms * 2.0**-23


SEVEN_LAYERS = rounding(7 * 20 * 9)  # of two float32 ways through CNN-7, whose filters have 20 x 3 x 3 weights


def pytest_ignore_collect(collection_path, config):
    """Where slow tests are left out, modules of slow tests alone are not even imported: that takes seconds."""
    left_out = config.option.markexpr == "not slow" and collection_path.suffix == ".py"
    return True if left_out and "\npytestmark = pytest.mark.slow\n" in collection_path.read_text() else None


def pytest_collection_modifyitems(items):
    """Long tests first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same weights and images each time, whichever tests ran before it."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def small_pictures():
    """Of a ninth of the size: they say as much to a test."""
    from equivariance.figures import style

    style.STYLE["savefig.dpi"] = 100


@pytest.fixture
def run(tmp_path):
    """Call `run("train.py", "model=cnn7", ...)` as the command line would; returns code, out and error."""
    from tests.commands import command

    return functools.partial(command, tmp_path / "runs")


@pytest.fixture
def composed_once(monkeypatch):
    """Hydra's part of the entry points is `hydra_main`."""
    from tests.commands import entrypoints, hydra_main

    monkeypatch.setattr(entrypoints.hydra, "main", hydra_main)


@pytest.fixture
def folder(tmp_path):
    """Two classes of four images each, in both splits, of various sizes."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for index in range(4):
                pixels = generator.integers(256, size=(40 + 5 * index, 60, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{index}.png")
    return tmp_path / "images"
