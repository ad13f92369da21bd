"""The benchmarks run, and print what they promise; how fast anything is, no test says."""

import pytest

from scripts import bench


@pytest.mark.slow
def test_each_table_has_its_rows(capsys, monkeypatch):
    monkeypatch.setattr(bench, "STEPS", 1)
    bench.train(1, 2, 1, ["cnn7"])
    assert bench.PLAIN in capsys.readouterr().out
    bench.measure(1, 2, 1, ["cnn7"], ["image", "dataset"])
    printed = capsys.readouterr().out
    assert [line.split()[2] for line in printed.splitlines()[2:]] == ["bare", "image", "dataset", "maps"]
    bench.passes(1, 2, ["cnn7"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("the least: ")
