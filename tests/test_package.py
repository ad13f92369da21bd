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


@pytest.mark.parametrize(
    ("arguments", "code", "answer"),
    [
        (["--help"], 0, "Powered by Hydra"),
        (["--cfg", "job"], 0, "optimiser: sgd"),
        (["recipe.epochz=3"], 1, "unknown key recipe.epochz: did you mean epochs?"),
        (["recipe.epochs=many"], 1, "recipe.epochs=many: needs a whole number"),
    ],
)
def test_what_needs_no_network_is_answered_before_heavy_imports(arguments, code, answer):
    run = f"""
import runpy, sys
sys.argv = ["train.py", *sys.argv[1:]]
try:
    runpy.run_path("train.py", run_name="__main__")
except SystemExit as exit:
    print(exit.code)
    assert bool(exit.code) == {bool(code)}
{LOADED.replace("print(", "print('loaded:', ")}
"""
    result = python(run, *arguments)
    assert result.returncode == 0 and answer in result.stdout, result.stderr
    assert result.stdout.splitlines()[-1] == "loaded:", result.stdout


def test_the_wheel_holds_the_package_alone_and_the_dependencies_are_those_of_requirements_txt():
    """By setuptools' own reading of pyproject.toml."""
    tools = pytest.importorskip("setuptools.config.pyprojecttoml")
    try:
        read = tools.read_configuration(REPOSITORY / "pyproject.toml")
    except ValueError as error:
        pytest.skip(f"a setuptools of before today's licence field: {str(error).splitlines()[0]}")
    packages = read["tool"]["setuptools"]["packages"]
    assert all(name.split(".")[0] == "equivariance" for name in packages) and "equivariance.data" in packages
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    names = [line.split("#")[0].strip() for line in lines if not line.startswith("#")]
    assert [line.split("#")[0].strip() for line in read["project"]["dependencies"]] == names
    assert read["project"]["version"] == equivariance.__version__
    assert (REPOSITORY / "equivariance/py.typed").exists()
