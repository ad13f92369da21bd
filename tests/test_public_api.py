"""The public API as a stranger uses it: in an empty folder, with the package alone, on a network of torchvision."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from equivariance.rows import COLUMNS
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

GIVEN = """
import torch, torchvision
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
model = torchvision.models.resnet18(weights=None)
images = torch.randn(5, 3, 32, 32)
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
import os
print(os.path.dirname(eq.__file__))
assert eq.plot_depth(table, own := axes.figure.add_subplot()) is own
axes.figure.savefig("depth.png")
axes = eq.plot_depth(table)
assert sum(len(line.get_xdata()) == table.layer.nunique() for line in axes.lines) == 4  # two scores, two levels
for name, each in (("table", table), ("same", same), ("darker", darker)):
    each.to_csv(f"{name}.csv", index=False)
"""


def readme_lines() -> str:
    """The example of README.md; its figure is kept as `axes`."""
    code = re.search(r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.S | re.M)[1]
    assert "eq.plot_depth(table)" in code and "eq.find_layers(" in code
    return code.replace("eq.plot_depth", "axes = eq.plot_depth")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the lines of README.md print and write, with a copy of the package as all that is installed."""
    site, empty = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    shutil.copytree(REPOSITORY / "equivariance", site / "equivariance")
    done = subprocess.run(
        [sys.executable, "-c", GIVEN + readme_lines() + OWN + METRIC + KEPT],
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


def test_the_lines_of_the_readme_give_a_table_like_results_csv(made):
    table = table_of(made[0], "table")
    assert list(table.columns) == [column for column in COLUMNS if column in table]
    assert {"value", "chance", "low", "high", "agreement"} <= {*table} and not table.isna().all().any()
    assert len(table) == table.layer.nunique() * 3 * 2 and table.value.between(0, 1).all()
    wide = table.pivot(index=["index", "element"], columns="score", values="value")
    assert (wide.equivariance >= wide.invariance).all()
    assert (table.model == "ResNet").all() and (table.images == 5).all()


def test_the_lines_of_the_readme_give_a_figure_and_the_table_of_layers(made):
    folder, printed = made
    assert (folder / "depth.png").read_bytes().startswith(b"\x89PNG")
    assert re.search(r"^layer1\.0 +n c h w +64 +8 x 8 +4 +early$", printed, re.M)
    assert re.search(r"^pool +n c +512 +1 x 1 +- +pool$", printed, re.M)


def test_a_transformation_of_ones_own_needs_no_base_class(made):
    same, darker = table_of(made[0], "same"), table_of(made[0], "darker")
    assert same.value.min() > 1 - 1e-6 and (same["transform"] == "nothing").all()
    invariance = darker[darker.score == "invariance"]
    assert invariance.value.max() < 1 and (darker.element == 0.5).all()


def test_the_notebook_runs(tmp_path, monkeypatch):
    notebook = json.loads((REPOSITORY / "docs/quickstart.ipynb").read_text())
    monkeypatch.chdir(tmp_path)
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict = {}
    for cell in cells:
        exec(compile(cell, "docs/quickstart.ipynb", "exec"), names)
    assert len(cells) >= 4 and (tmp_path / "depth.png").stat().st_size
    assert {*names["table"].columns} <= {*COLUMNS}
    assert abs(names["metric"].compute().value - names["table"].value).max() < 1e-6
