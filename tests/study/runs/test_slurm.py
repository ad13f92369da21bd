"""A sweep on Slurm: a warning that the time is over saves first, and the presets compose."""

import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from equivariance.study import cli
from equivariance.study.config import CONF


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
