"""Rows are collected for what a preset asks, and for nothing else."""

import copy
import runpy

import pytest
from omegaconf import OmegaConf

from equivariance.errors import UserError
from equivariance.study.cli.jobs import jobs
from equivariance.study.identity import measurement_folder, scoring, training_config
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("which", "key", "value"),
    [
        ("measure", "measure.images", 20),
        ("measure", "measure.transform.elements", [90]),
        ("measure", "measure.over", "dataset"),
        ("train", "recipe.lr", 0.02),
        ("train", "recipe.batch_size", 400),
        ("train", "recipe.epochs", 3),
        ("train", "seed", 7),
    ],
)
def test_what_the_preset_does_not_ask_for_is_refused(which, key, value, tmp_path):
    refuse = runpy.run_path(str(REPOSITORY / "scripts/collect.py"))["refuse_others"]
    job = next(job for job in jobs("quickstart", "measure", (f"runs_dir={tmp_path}",)) if job.measure.trained)
    made = {"measure": {"measure": copy.deepcopy(scoring(job))}, "train": training_config(job)}

    def write():
        for kind, folder in (("measure", measurement_folder(job)), ("train", job.run_dir)):
            (place := tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (place / "config.yaml").write_text(OmegaConf.to_yaml(made[kind]))

    write()
    refuse("quickstart", job, measurement_folder(job))
    changed = OmegaConf.create(made[which])
    OmegaConf.update(changed, key, value, merge=False)
    made[which] = OmegaConf.to_container(changed)
    write()
    with pytest.raises(UserError, match=f"has {key}=.*experiment quickstart needs"):
        refuse("quickstart", job, measurement_folder(job))
