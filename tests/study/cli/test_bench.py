"""The benchmarks run, and print what they promise; how fast anything is, no test says."""

import pytest

from scripts import bench

pytestmark = pytest.mark.slow


def test_each_table_has_its_rows(capsys):
    small = ("--threads", "1", "--batch", "2", "--rounds", "1", "--models", "cnn7")
    bench.main("train", *small)
    assert bench.PLAIN in capsys.readouterr().out
    bench.main("measure", *small)
    printed = capsys.readouterr().out
    assert [line.split()[2] for line in printed.splitlines()[1:]] == ["bare", "image", "dataset", "maps"]
    bench.main("passes", *small)
    assert capsys.readouterr().out.splitlines()[-1].startswith("the least: ")
