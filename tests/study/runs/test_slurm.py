"""A sweep on Slurm: what squeue says is told, and a job that ends without a result is a failure, not a wait."""

import os
import signal
from pathlib import Path

import pytest
import submitit
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf

from equivariance.errors import UserError
from equivariance.study import cli
from equivariance.study.checkout import CONF
from equivariance.study.runs import slurm


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Call it with lines of "JOB|STATE|REASON": what squeue prints from then on; None: it fails."""
    program = tmp_path / "bin/squeue"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)

    def says(*lines):
        text = "exit 1" if lines == (None,) else "\n".join(["cat <<'END'", *lines, "END"])
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)

    return says


def test_states_are_told_once_and_a_forgotten_job_has_ended(squeue, capsys):
    queue = slurm.Queue()
    for job in ("7", "7_0", "7_1"):
        queue.register_job(job)
    squeue("7_0|RUNNING|None", "7_1|PENDING|Resources", "6_0|COMPLETED|None")
    queue.update()
    queue.update()
    assert capsys.readouterr().out == "Slurm: 1 pending, 1 running\n"
    squeue(None)
    queue.update()
    assert capsys.readouterr().out == "" and not queue.is_done("7_0", "cache")
    squeue("7_0|PENDING|BeginTime", "7_1|CANCELLED|None")
    queue.update()
    assert capsys.readouterr().out == "Slurm: 1 cancelled, 1 pending\n"
    assert queue.is_done("7_1", "cache") and not queue.is_done("7_0", "cache")
    squeue("8_0|RUNNING|None")
    queue.update()
    assert queue.is_done("7_0", "cache")


@pytest.mark.parametrize(
    ("reason", "key"),
    [
        ("PartitionTimeLimit", "timeout_min"),
        ("AssocMaxCpuPerJobLimit", "cpus_per_task"),
        ("BadConstraints", "partition"),
    ],
)
def test_a_job_that_can_never_start_is_told_once_with_the_key(squeue, capsys, reason, key):
    queue = slurm.Queue()
    for job in ("7_0", "7_1"):
        queue.register_job(job)
    squeue(f"7_0|PENDING|{reason}", f"7_1|PENDING|{reason}")
    queue.update()
    queue.update()
    out = capsys.readouterr().out
    assert out.count("never come") == 1 and reason in out and f"hydra.launcher.{key}\n" in out


def test_a_job_without_a_result_is_a_failure_of_one_line(squeue, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(submitit.SlurmJob, "watcher", slurm.Queue())
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0)
    squeue("7_0|CANCELLED|None")
    (found,) = slurm.outcome(submitit.SlurmJob(folder=tmp_path, job_id="7_0"))
    assert found.status is JobStatus.FAILED and isinstance(found._return_value, UserError)
    assert "7_0 failed: it ended without a result (cancelled); the same command" in capsys.readouterr().out


def test_without_slurm_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    config = {"hydra": {"runtime": {"choices": {"hydra/launcher": "slurm"}}, "launcher": {"submitit_folder": "x"}}}
    with pytest.raises(UserError, match="hydra/launcher=slurm: there is no sbatch, squeue, srun here"):
        slurm.Slurm().on_multirun_start(OmegaConf.create(config))


def test_a_warning_that_the_time_is_over_saves_first_and_then_reaches_submitit():
    heard = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    try:
        with pytest.raises(SystemExit), cli.stoppable() as stop:
            signal.raise_signal(signal.SIGUSR2)
            assert stop and not heard
        assert heard == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)
    with cli.stoppable():  # nobody waits for it: it is left alone
        assert signal.getsignal(signal.SIGUSR2) == before


def test_presets_of_slurm_compose():
    launcher = Path(CONF / "hydra/launcher")
    cpu = OmegaConf.merge(*(OmegaConf.load(launcher / f"{name}.yaml") for name in ("slurm", "slurm_cpu")))
    assert cpu.launcher.gpus_per_node is None and cpu.launcher.cpus_per_task == 1
    assert cpu.callbacks.slurm._target_ == "equivariance.study.runs.slurm.Slurm"
