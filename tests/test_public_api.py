"""The public API as a stranger uses it: in an empty folder, with the package alone."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from equivariance.metric.precision import FIRST
from equivariance.rows import COLUMNS
from equivariance.study.data import datasets
from tests.commands import command
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

GIVEN = """
import torch
from torch import nn
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList(nn.Conv2d(channels, 8, 3, 2, 1) for channels in (3, 8, 8, 8))
        self.norm, self.fc = nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x):
        for stage in self.stages:
            x = stage(x).relu()
        return self.fc(self.norm(x).mean((2, 3)))

model = Network()
images = torch.randn(5, 3, 32, 32)

import equivariance as eq

table = eq.measure(model, images, eq.rotations())
axes = eq.plot_depth(table)
print(eq.find_layers(model, images[0]))
"""
OWN = """
class Same:
    name, element = "nothing", 0

    def check(self, height, width):
        pass

    def act(self, images):
        return images

    def align(self, copy, original, stride):
        return copy, original


class Darker(Same):
    name, element = "darker", 0.5

    def act(self, images):
        return images - self.element


same, darker = eq.measure(model, images, [Same()]), eq.measure(model, iter([images[:1], images[1:]]), [Darker()])
"""
METRIC = """
left, right = eq.Equivariance(model, eq.rotations()), eq.Equivariance(model, eq.rotations())
right.reset(4)
for batch in images[:4].split(1):
    left.update(batch)
right.update(torch.cat([images[4:], images]))
left.merge_state(right)
whole = eq.measure(model, torch.cat([images, images]), eq.rotations())
assert abs(left.compute().value - whole.value).max() < 1e-9
left.reset()
left.update(images)
assert abs(left.compute().value - table.value).max() < 1e-9 and model.training
"""
KEPT = """
import os, sys
assert not {"torch._dynamo", "torchvision", "hydra"} & {*sys.modules}  # which take seconds
print(os.path.dirname(eq.__file__))
assert eq.plot_depth(table, own := axes.figure.add_subplot()) is own
axes.figure.savefig("depth.png")
axes = eq.plot_depth(table)
assert sum(len(line.get_xdata()) == table.layer.nunique() for line in axes.lines) == 4  # two scores, two levels
for name, each in (("table", table), ("same", same), ("darker", darker)):
    each.to_csv(f"{name}.csv", index=False)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What these lines print and write, with a copy of the package as all that is installed."""
    site, empty = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    shutil.copytree(REPOSITORY / "equivariance", site / "equivariance")
    done = subprocess.run(
        [sys.executable, "-c", GIVEN + OWN + METRIC + KEPT],
        cwd=empty,
        env=os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(site / "equivariance")
    return empty, done.stdout


def table_of(folder, name):
    import pandas as pd

    return pd.read_csv(folder / f"{name}.csv")


def test_a_table_like_results_csv(made):
    table = table_of(made[0], "table")
    assert {*table.columns} <= {*COLUMNS}
    assert {"value", "chance", "low", "high", "agreement"} <= {*table} and not table.isna().all().any()
    assert len(table) == table.layer.nunique() * 3 * 2 and table.value.between(0, 1).all()
    wide = table.pivot(index=["index", "element"], columns="score", values="value")
    assert (wide.equivariance >= wide.invariance).all()
    assert (table.model == "Network").all() and (table.images == 5).all()


def test_a_figure_and_the_table_of_layers(made):
    folder, printed = made
    assert (folder / "depth.png").read_bytes().startswith(b"\x89PNG")
    assert re.search(r"^stages\.1 +n c h w +8 +8 x 8 +4 +early$", printed, re.M)
    assert re.search(r"^pool +n c +8 +1 x 1 +- +pool$", printed, re.M)


def test_a_transformation_of_ones_own_needs_no_base_class(made):
    same, darker = table_of(made[0], "same"), table_of(made[0], "darker")
    assert same.value.min() > 1 - 1e-6 and (same["transform"] == "nothing").all()
    invariance = darker[darker.score == "invariance"]
    assert invariance.value.max() < 1 and (darker.element == 0.5).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which the quick start has trained, for one epoch."""
    folder = tmp_path_factory.mktemp("quickstart")
    made = command(folder / "runs", "train.py", "experiment=quickstart", "recipe.epochs=1", "recipe.milestones=[]")
    assert made.code == 0, made.error
    (folder / "docs").mkdir()
    return folder


@pytest.fixture(autouse=True)
def few_digits(monkeypatch):
    """So many as `until` looks at first."""
    pixels, labels, classes = datasets.digits6("upright", "held_out")
    monkeypatch.setattr(datasets, "digits6", lambda *_: (pixels[:FIRST], labels[:FIRST], classes))


def test_the_lines_of_the_readme_run_after_the_quick_start(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    names: dict = {}
    for code in re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.S | re.M):
        exec(compile(code, "README.md", "exec"), names)
    assert (trained / "learned.png").stat().st_size > 5000 and "equivariance" in capsys.readouterr().out
    assert (names["table"].value != names["twin"].value).any() and len(names["table"]) == len(names["twin"])


def test_the_notebook_runs_and_shows_what_came_out(trained, monkeypatch):
    notebook = json.loads((REPOSITORY / "docs/quickstart.ipynb").read_text())
    monkeypatch.chdir(trained / "docs")
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), "docs/quickstart.ipynb", "exec"), names)
    assert sum("image/png" in output.get("data", ()) for cell in cells for output in cell["outputs"]) == 2
    assert {*names["table"].columns} <= {*COLUMNS}
    assert abs(names["metric"].compute().value - names["table"].value).max() < 1e-6
