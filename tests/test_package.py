"""The package as others import it: public names, and nothing heavy before it is needed."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY

import equivariance

HEAVY = ("torch", "torchvision", "timm", "pandas", "matplotlib", "scipy", "sklearn", "wandb")
LOADED = f"import sys; print(*({{*{HEAVY}}} & {{*sys.modules}}))"


def python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["UserError", "dihedral", "find_layers", "shifts"])
def test_a_public_name_is_that_of_its_module(name):
    home = f"equivariance.{equivariance._HOME[name]}"
    assert getattr(equivariance, name) is getattr(sys.modules[home], name)


def test_every_public_name_has_a_home_and_is_listed():
    assert equivariance.__all__ == sorted(equivariance._HOME) and {*equivariance.__all__} <= {*dir(equivariance)}
    with pytest.raises(AttributeError, match="has no attribute 'mesure'"):
        _ = equivariance.mesure


def test_importing_the_package_loads_nothing_heavy():
    assert python(f"import equivariance; dir(equivariance); {LOADED}").stdout.strip() == ""
