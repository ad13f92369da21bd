"""Stop signals, as `timeout`, Slurm and torchrun send them: to the whole group, several times."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from equivariance import rows
from equivariance.study import cli
from tests.conftest import REPOSITORY, SEVEN_LAYERS

pytestmark = pytest.mark.slow

WAITING = """
import multiprocessing, sys
import measure
from equivariance.study.data import image_files
from equivariance.metric.equivariance import Equivariance
image_files.cpu_count = lambda: 2
update = Equivariance.update
def waiting(self, images, labels=None):
    update(self, images, labels)
    print(len(multiprocessing.active_children()), "workers", flush=True)
    sys.stdin.readline()
Equivariance.update = waiting
measure.main()
"""


def test_repeated_stop_signals_do_not_interrupt_the_saving():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as exit, cli.stoppable() as stop:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
        assert stop and stop.exit_code == 143
    assert exit.value.code == 143 and signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_of_a_person_stops_at_once():
    with pytest.raises(KeyboardInterrupt), cli.stoppable() as stop:
        signal.raise_signal(signal.SIGINT)
        stop.at -= 2
        signal.raise_signal(signal.SIGINT)


def test_a_measurement_of_image_files_survives_a_stop_of_its_group(run, folder, tmp_path):
    given = ["dataset=image_folder", f"dataset.root={folder}", "dataset.size=32", "model=cnn7"]
    given += ["model.width=4", "measure.trained=false", "measure.batch_size=2", "measure.blocks=2"]
    given += ["wandb.mode=disabled", "hardware.threads=1"]
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, *given, f"runs_dir={tmp_path / 'runs'}"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for answer in ("\n", ""):  # after the second batch it waits for longer
        while process.stdout.readline() != "2 workers\n":
            assert process.poll() is None, process.stderr.read()
        process.stdin.write(answer)
        process.stdin.flush()
    for _ in range(2):  # `timeout` sends it to the process and to its group
        os.killpg(process.pid, signal.SIGTERM)
    _, error = process.communicate("\n", timeout=120)
    assert process.returncode == 143 and "Traceback" not in error, error
    assert list(tmp_path.rglob(".statistics-*"))
    resumed, whole = (run("measure.py", *given, *where) for where in ((), (f"runs_dir={tmp_path / 'whole'}",)))
    assert resumed.code == whole.code == 0 and "going on after" in resumed.out
    a, b = (rows.read(next((tmp_path / name).rglob("results.csv"))) for name in ("runs", "whole"))
    scores = ["value", "chance", "activation"]
    np.testing.assert_allclose(a[scores], b[scores], atol=SEVEN_LAYERS)


def test_a_process_ends_with_the_one_that_started_it():
    """As joblib's do not by themselves; a job under way may first save its state."""
    child = "import time; from equivariance.study.cli.signals import end_with_parent; end_with_parent(); "
    child += "print('up', flush=True)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child + '; time.sleep(600)'!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.kill()
    began = time.monotonic()
    assert process.stdout.read() == ""  # at the end of the child, which has the pipe too
    assert time.monotonic() - began < 60


def test_a_sweep_in_processes_of_joblib_ends_with_its_parent(tmp_path):
    """Whose parent is killed at once: nobody is left behind, and both runs have saved where they were."""
    given = ["dataset=digits6", "model=cnn7", "model.width=4", "recipe.epochs=5000", "seed=0,1", "-m"]
    given += ["wandb.mode=disabled"]
    given += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hardware.threads=1", f"runs_dir={tmp_path}"]
    sweep = subprocess.Popen([sys.executable, "train.py", *given], cwd=REPOSITORY, stdout=subprocess.PIPE)
    reader = threading.Thread(target=sweep.stdout.read)  # to the end of the last process that has this pipe
    reader.start()
    while len(list(tmp_path.rglob("checkpoint.pt"))) < 2:
        assert sweep.poll() is None
        time.sleep(0.2)
    sweep.kill()
    sweep.wait()
    assert reader.is_alive()
    reader.join(timeout=90)
    assert not reader.is_alive()
    for checkpoint in tmp_path.rglob("checkpoint.pt"):
        assert torch.load(checkpoint, weights_only=True)["epoch"] >= 1
