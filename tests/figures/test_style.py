"""Rows, figures and verdicts need no torch, and leave Matplotlib as they found it: settings and backend."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

GUEST = """
import importlib, sys, tempfile
from pathlib import Path
import matplotlib
matplotlib.use("svg")
matplotlib.rcParams["font.size"] = 17
before = dict(matplotlib.rcParams)
import equivariance as eq
from equivariance import rows
from equivariance.figures import compare, depth, score_drops, similarity, style
from equivariance.study import figures, rank_correlation, tables
from equivariance.study.verdicts import parts, rules
folders = [each.parent.name for each in Path("experiments").glob("*/figure.py")]
drawn = [importlib.import_module(f"experiments.{name}.figure") for name in folders]
assert drawn and all(each.figures for each in drawn)
table = rows.of_first_over(rows.read(Path("experiments/score_drops/results.csv")))
table = table[table.model == table.model.iloc[0]]
axes = eq.plot_depth(table)
sizes = {text.get_fontsize() for text in axes.get_xticklabels()}
figure = eq.plot_compare([table])
figures.save(figure, Path(tempfile.mkdtemp()) / "figure")
own = matplotlib.pyplot.figure().add_subplot()
assert rules.verdicts_of("symmetry")
print(sizes, own.title.get_fontsize(), {"torch", "timm", "torchvision"} & {*sys.modules})
print([key for key in before if before[key] != matplotlib.rcParams[key]])
"""


@pytest.mark.slow
def test_settings_and_backend_are_unchanged_and_figures_have_our_look_without_torch():
    done = subprocess.run([sys.executable, "-c", GUEST], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["{8.0} 20.4 set()", "[]"]
