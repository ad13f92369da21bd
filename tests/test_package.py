"""The package as others import it: public names, and nothing heavy before it is needed."""

import re
import subprocess
import sys

import pytest

import equivariance
from tests.conftest import REPOSITORY

HEAVY = ("torch", "torchvision", "timm", "pandas", "matplotlib", "scipy", "sklearn", "wandb")
LOADED = f"import sys; print(*({{*{HEAVY}}} & {{*sys.modules}}))"


def python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["UserError", "dihedral", "find_layers", "shifts"])
def test_a_public_name_is_that_of_its_module(name):
    home = equivariance._HOME[name]
    assert getattr(equivariance, name) is getattr(sys.modules[home], name)


def test_every_public_name_has_a_home_and_is_listed():
    assert {*equivariance.__all__} <= {*dir(equivariance)}
    with pytest.raises(AttributeError, match="has no attribute 'mesure'"):
        _ = equivariance.mesure


def test_importing_the_package_loads_nothing_heavy():
    assert python(f"import equivariance; dir(equivariance); {LOADED}").stdout.strip() == ""


ANSWERED = [
    (["--help"], "0", "recipe.lr=0.1"),
    (["--hydra-help"], "0", "--multirun"),
    (["--cfg", "job"], "0", "optimiser: sgd"),
    (["recipe.epochz=3"], "train.py: unknown key recipe.epochz: did you mean epochs?", ""),
    (["recipe.epochs=many"], "train.py: recipe.epochs=many: needs a whole number", ""),
]
ANSWERING = f"""
import runpy, sys
for words in {[words for words, _, _ in ANSWERED]}:
    sys.argv, code = ["train.py", *words], 0
    try:
        runpy.run_path("train.py", run_name="__main__")
    except SystemExit as exit:
        code = exit.code or 0
    print("exit:", code)
{LOADED}
"""


def test_what_needs_no_network_is_answered_before_heavy_imports():
    """One command after the other in one process: what is not loaded at the end, none has loaded."""
    result = python(ANSWERING)
    assert result.returncode == 0, result.stderr
    printed = result.stdout
    for words, code, answer in ANSWERED:
        before, there, printed = printed.partition("exit: ")
        assert there and answer in before and printed.startswith(code), words
    assert printed.splitlines()[1:] == [""], printed


def test_the_wheel_is_the_library_alone_and_needs_six_packages():
    """By setuptools' own reading of pyproject.toml."""
    tools = pytest.importorskip("setuptools.config.pyprojecttoml")
    try:
        read = tools.read_configuration(REPOSITORY / "pyproject.toml")
    except ValueError as error:
        pytest.skip(f"a setuptools of before today's licence field: {str(error).splitlines()[0]}")
    packages = read["tool"]["setuptools"]["packages"]
    folders = {f"equivariance.{file.parent.name}" for file in REPOSITORY.glob("equivariance/*/__init__.py")}
    assert {*packages} == {"equivariance", *folders} - {"equivariance.study"}
    needed = {re.match(r"[\w-]+", line)[0] for line in read["project"]["dependencies"]}
    assert needed == {"torch", "numpy", "pandas", "scipy", "tqdm", "matplotlib"}
    assert read["project"]["version"] == equivariance.__version__
    assert (REPOSITORY / "equivariance/py.typed").exists() and (REPOSITORY / "equivariance/__init__.pyi").exists()


def test_names_are_declared_once_and_served_to_all():
    """In the stub, one import a line; nothing else is public."""
    lines = (REPOSITORY / "equivariance/__init__.pyi").read_text().splitlines()
    declared = [line.split()[-1] for line in lines if line.startswith("from")]
    assert equivariance.__all__ == declared and len(declared) == len({*declared}) > 10


@pytest.mark.slow
def test_types():
    """Beside the other tests, as it takes one core for half a minute."""
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
