"""The first minutes on a GPU: each step is written before the next one begins, whatever becomes of it."""

import sys

import pytest

from equivariance.errors import UserError
from scripts import gpu_check

pytestmark = pytest.mark.slow

BENCH = "ours, float32 {} ms 1.00 x\nours, bfloat16 {} ms 1.00 x\n"


def test_a_step_that_fails_or_hangs_is_written_and_the_next_one_begins(tmp_path, monkeypatch, capsys):
    looks = f"{sys.executable} -c \"print(open('{tmp_path}/1_fails.txt').read())\""
    steps = {"fails": (5, 1, "echo early; exit 3"), "looks": (5, 2, looks), "hangs": (-8, 1, "echo on; sleep 60")}
    monkeypatch.setattr(gpu_check, "STEPS", steps)
    monkeypatch.setattr(gpu_check, "PATIENCE", 1)
    with pytest.raises(UserError, match="not done: fails, hangs"):
        gpu_check.main(str(tmp_path))
    printed = capsys.readouterr().out
    assert (
        printed.index("early\nfailed with exit code 3") < printed.index("2 looks: done") < printed.index("3 hangs")
    )
    assert "failed with exit code 3" in (tmp_path / "2_looks1.txt").read_text()  # written before this step began
    assert "not done in" in (tmp_path / "3_hangs.txt").read_text()


def test_the_last_line_takes_the_fastest_way_that_is_right_and_three_jobs_where_they_pay(tmp_path):
    assert 'ARGS="--jobs 1 hardware.graph=false hardware.compile=false"' in gpu_check.settings(tmp_path)
    (tmp_path / "4_training.txt").write_text("fastest: hardware.graph=true hardware.compile=false\ndone\n")
    (tmp_path / "5_bench.txt").write_text(BENCH.format(10, 4))
    for process in ("", 1, 2):
        (tmp_path / f"6_three{process}.txt").write_text(BENCH.format(20, 8))
    assert gpu_check.settings(tmp_path) == (
        "three processes do 1.50 times as much as one; "
        'make reproduce ARGS="--jobs 3 hardware.graph=true hardware.compile=false"'
    )
    for process in ("", 1, 2):
        (tmp_path / f"6_three{process}.txt").write_text(BENCH.format(30, 12))
    assert "--jobs 1" in gpu_check.settings(tmp_path)
