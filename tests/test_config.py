"""The configuration: every preset composes, and the short commands mean what the papers' tables say."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object

from equivariance.analysis import jobs as experiments
from equivariance.checkout import CONF

GROUPS = ("dataset", "model", "aug", "recipe", "measure")
TABLE_1 = {"epochs": 100, "batch_size": 128, "optimiser": "adam", "lr": 0.01, "weight_decay": 0.0005}
TABLE_2 = {"epochs": 200, "batch_size": 128, "optimiser": "sgd", "lr": 0.1, "weight_decay": 0.0001}


def config(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
        return compose("config", list(overrides))


def options(group):
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("choice", [(group, option) for group in GROUPS for option in options(group)])
def test_every_option_composes_and_names_what_exists(choice):
    group, option = choice
    node = config(f"{group}={option}")[group]
    assert node.get("name", option).startswith(option)
    for part in (node, node.get("transform") or {}):
        if "_target_" in part:
            assert callable(get_object(part._target_))


@pytest.mark.parametrize("overrides", [(), ("model=resnet44", "aug=cutmix")])
def test_the_default_is_cifar10_with_table_2(overrides):
    cfg = config(*overrides)
    assert (cfg.dataset.name, cfg.model.name, cfg.model.depth) == ("cifar10", "resnet44", 44)
    assert {key: cfg.recipe[key] for key in TABLE_2} == TABLE_2
    assert (cfg.recipe.milestones, cfg.recipe.factor, cfg.recipe.momentum) == ([100, 150], 10, 0.9)
    assert cfg.aug.name == ("cutmix" if overrides else "none")


def test_cnn7_brings_table_1():
    cfg = config("dataset=mnist6", "model=cnn7")
    assert {key: cfg.recipe[key] for key in TABLE_1} == TABLE_1
    assert (cfg.recipe.milestones, cfg.recipe.factor) == ([25, 50], 10)
    assert config("model=cnn7", "recipe=table2").recipe.epochs == 200  # the command line wins


def test_symmetry_is_the_papers_grid():
    train, measure = (experiments.jobs("symmetry", entrypoint) for entrypoint in ("train", "measure"))
    grid = {(cfg.dataset.name, cfg.seed) for cfg in train}
    assert len(train) == len(grid) == 9 and len(measure) == 18
    assert {task for task, _ in grid} == {"mnist6", "mnist6_rot_inv", "mnist6_rot_eq"}
    assert all(cfg.recipe.epochs == 100 and cfg.measure.images == 2000 for cfg in train + measure)
    assert sum(cfg.measure.trained for cfg in measure) == 9
    assert len({cfg.run_dir for cfg in train}) == 9


@pytest.mark.parametrize(("name", "networks", "axis"), [("augmentation", 15, "aug"), ("capacity", 12, "model")])
def test_the_grids_on_cifar10_are_the_papers(name, networks, axis):
    train, measure = (experiments.jobs(name, entrypoint) for entrypoint in ("train", "measure"))
    assert len(train) == len({cfg.run_dir for cfg in train}) == networks and len(measure) == 2 * networks
    assert {cfg.seed for cfg in train} == {0, 1, 2} and all(cfg.recipe.epochs == 200 for cfg in train)
    grid = {"aug": {"none", "crop", "flip", "cutmix", "randaugment"}, "model": {f"wrn40-{k}" for k in (1, 2, 4, 8)}}
    assert {cfg[axis].name for cfg in train} == grid[axis]
    assert all(cfg.measure.transform.elements == list(range(1, 17)) for cfg in measure)
