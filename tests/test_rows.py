"""Rows come back as they were written, and a file that was cut or edited is refused with its row."""

import shutil
import subprocess
import sys
import time

import pandas as pd
import pytest

from equivariance import rows
from equivariance.errors import UserError
from tests.conftest import REPOSITORY

COMMITTED = sorted(
    file for file in (REPOSITORY / "experiments").glob("*/*.csv") if file.read_text().startswith("experiment,")
)
WHOLE = REPOSITORY / "experiments/symmetry/results.csv"


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_committed_rows_pass_and_round_trip(file, tmp_path):
    start = time.perf_counter()
    table = rows.read(file)
    assert time.perf_counter() - start < 2
    rows.write(tmp_path / "again.csv", table)
    again = rows.read(tmp_path / "again.csv")
    pd.testing.assert_frame_equal(again, table[rows.COLUMNS], atol=1e-6, check_dtype=False)
    rows.write(tmp_path / "twice.csv", again)
    assert (tmp_path / "twice.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()


def edited(tmp_path, column, value, row=7):
    table = rows.read(WHOLE).astype({column: object})
    table.loc[row, column] = value
    rows.write(tmp_path / "results.csv", table)
    return tmp_path / "results.csv"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("value", 1.2, r"value=1.2 is no number in \[0, 1\]"),
        ("low", -0.1, r"low=-0.1 is no number in \[0, 1\]"),
        ("chance", "none", "chance=none is no number"),
        ("accuracy", 99.4, "accuracy=99.4 is no number"),
        ("images", None, "images=nan is no whole number"),
        ("channels", 2.5, "channels=2.5 is no whole number"),
        ("measure", "covariance", "measure=covariance is none of invariance, equivariance"),
        ("part", "", "part=nan is none of early"),
        ("over", "all", "over=all is none of image"),
        ("trained", "yes", "trained=yes is neither True nor False"),
        ("layer", "=1+1", r"layer==1\+1 begins with '='"),
        ("model", '=HYPERLINK("x")', r"model==HYPERLINK\(\"x\"\) begins with '='"),
    ],
)
def test_an_edited_cell_is_named_with_its_row(tmp_path, column, value, message):
    file = edited(tmp_path, column, value)
    with pytest.raises(UserError, match=rf"results\.csv, row 9: {message}") as error:
        rows.read(file)
    assert "\n" not in str(error.value)


def test_rows_that_are_missing_or_there_twice(tmp_path):
    lines = WHOLE.read_text().splitlines(keepends=True)
    file = tmp_path / "results.csv"
    file.write_text("".join(lines[:20] + lines[21:]))
    with pytest.raises(UserError, match=r"row \d+: cnn7 \w+ has 5 of its 6 scores"):
        rows.read(file)
    file.write_text("".join([*lines[:21], lines[20], *lines[21:]]))
    with pytest.raises(UserError, match=r"row 22: \w+ of cnn7 \w+ at \d+ is there twice"):
        rows.read(file)
    file.write_text("".join(lines[:300])[:-30])
    with pytest.raises(UserError, match="row 300: the file ends in the middle of a row"):
        rows.read(file)
    file.write_text("".join(lines[:300]))  # at the end of a row, but not of a layer
    with pytest.raises(UserError, match="of its 6 scores"):
        rows.read(file)


@pytest.mark.parametrize("text", ["", "\n", "a,b\n1,2\n", "a,b\n1,2,3,4\n"])
def test_what_is_no_table(tmp_path, text):
    file = tmp_path / "results.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=r"results\.csv"):
        rows.read(file)
    with pytest.raises(UserError, match="no rows in"):
        rows.read(tmp_path / "nothing.csv")


def test_readings_epochs_and_transformations_stand_side_by_side(tmp_path):
    table = rows.read(WHOLE)
    table = table[table.trained & (table.over == "dataset")]
    more = [table, table.assign(over="image"), table.assign(epoch=5, epochs=100), table.assign(transform="mirror")]
    rows.write(tmp_path / "results.csv", pd.concat(more))
    together = rows.read(tmp_path / "results.csv")
    assert len(rows.by_layer(together)) == 4 * len(rows.by_layer(table))
    assert len(rows.of_last_epoch(together)) == 3 * len(table)
    assert not rows.is_trained(table.assign(epoch=0)).any() and rows.is_trained(together).all()


def test_figures_and_verdicts_load_no_torch(tmp_path):
    """Reading rows, drawing and deciding are quick, and work where PyTorch is not installed."""
    shutil.copy(WHOLE, tmp_path)
    lines = [
        "import sys, pandas as pd",
        "from pathlib import Path",
        "from equivariance.figures import compare, depth, rank_correlation, style",
        "from equivariance.study.verdicts import parts, rules",
        "from equivariance import rows",
        f"table = rows.read(Path({str(tmp_path / 'results.csv')!r}))",
        "one = table[(table.seed == 0) & (table.dataset == 'mnist6')]",
        f"style.save(depth.plot_depth(one).figure, Path({str(tmp_path / 'depth')!r}))",
        f"style.save(compare.plot_compare([table]), Path({str(tmp_path / 'compare')!r}))",
        "rules.verdicts_of('symmetry')",
        "loaded = {'torch', 'timm', 'torchvision'} & set(sys.modules)",
        "assert not loaded, loaded",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "depth.png").exists() and (tmp_path / "compare.png").exists()


def test_every_figure_script_loads_no_torch():
    lines = [
        "import runpy, sys",
        "from pathlib import Path",
        "for script in sorted(Path('experiments').glob('*/figure.py')): runpy.run_path(str(script))",
        "assert 'torch' not in sys.modules",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
