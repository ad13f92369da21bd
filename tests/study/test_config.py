"""The configuration: every preset composes, and the short commands mean what the papers' tables say."""

import copy
import functools
from itertools import cycle, islice

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import OmegaConf

from equivariance.study.cli import jobs as experiments
from equivariance.study.config import CONF, RANGES, SCHEMA, recipe_of

ABSENT = (OmegaConf.is_missing, OmegaConf.is_interpolation)
GROUPS = ("dataset", "model", "aug", "recipe", "measure")
TABLE_1 = {"epochs": 100, "batch_size": 128, "optimiser": "adam", "lr": 0.01, "weight_decay": 0.0005}
TABLE_2 = {"epochs": 200, "batch_size": 128, "optimiser": "sgd", "lr": 0.1, "weight_decay": 0.0001}


def config(*overrides):
    """What Hydra composes; once for the same words, as that takes a tenth of a second."""
    return copy.deepcopy(_composed(overrides))


@functools.cache
def _composed(overrides):
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
        return compose("config", list(overrides))


def options(group):
    return sorted(file.stem for file in (CONF / group).glob("*.yaml") if file.stem != "base")


MOST = max(len(options(group)) for group in GROUPS)
CHOICES = [*zip(*(islice(cycle(options(group)), MOST) for group in GROUPS), strict=True)]  # each option is in one


@pytest.mark.parametrize("choice", CHOICES, ids="-".join)
def test_every_option_composes_and_names_what_exists(choice):
    """Groups do not know each other: one configuration shows an option of each."""
    cfg = config(*map("{}={}".format, GROUPS, choice))
    for group, option in zip(GROUPS, choice, strict=True):
        assert cfg[group].get("name", option).startswith(option)  # no two options share a folder
        assert all(callable(get_object(target)) for target in targets(cfg[group]))


@pytest.mark.slow
@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_composes_and_names_what_exists(name):
    assert all(callable(get_object(target)) for target in targets(config(f"experiment={name}")))


def targets(node):
    """Every `_target_` in a configuration, at any depth."""
    if OmegaConf.is_list(node):
        return [found for value in node for found in targets(value)]
    if not OmegaConf.is_dict(node):
        return []
    given = [key for key in node if not any(absent(node, key) for absent in ABSENT)]
    inner = [found for key in given for found in targets(node[key])]
    return inner + [node[key] for key in given if key == "_target_"]


def test_the_schema_holds_whatever_is_chosen():
    """Also after a group or an experiment is merged over it: types that are lost are types that do not check."""
    for override in ("recipe=one_cycle", "measure=translation32", "experiment=capacity", "experiment=zoo"):
        cfg = config(override)
        assert {name: OmegaConf.get_type(cfg[name]) for name in SCHEMA} == SCHEMA, override
    recipe = recipe_of(config("model=cnn7", "recipe.momentum=0.5"))
    assert recipe.milestones == [25, 50] and recipe.momentum == 0.5 and type(recipe.milestones) is list


def test_every_typed_key_has_a_range():
    keys = {f"{name}.{key}" for name, schema in SCHEMA.items() for key in schema.__annotations__}
    assert keys - RANGES.keys() == {"measure.options"}
    assert RANGES["recipe.momentum"][1] == "needs a number from 0 to below 1, or null"


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


@pytest.mark.slow
def test_symmetry_is_the_papers_grid():
    train, measure = (experiments.jobs("symmetry", entrypoint) for entrypoint in ("train", "measure"))
    grid = {(cfg.dataset.name, cfg.seed) for cfg in train}
    assert len(train) == len(grid) == 3 * len({cfg.seed for cfg in train}) and len(measure) == 2 * len(train)
    assert {task for task, _ in grid} == {"mnist6", "mnist6_rot_inv", "mnist6_rot_eq"}
    assert all(cfg.recipe.epochs == 100 and cfg.measure.images == 2000 for cfg in train + measure)
    assert sum(cfg.measure.trained for cfg in measure) == len(train)
    assert len({cfg.run_dir for cfg in train}) == len(train)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "networks", "axis"), [("augmentation", 15, "aug"), ("capacity", 12, "model")])
def test_the_grids_on_cifar10_are_the_papers(name, networks, axis):
    train, measure = (experiments.jobs(name, entrypoint) for entrypoint in ("train", "measure"))
    assert len(train) == len({cfg.run_dir for cfg in train}) == networks and len(measure) == 2 * networks
    assert {cfg.seed for cfg in train} == {0, 1, 2} and all(cfg.recipe.epochs == 200 for cfg in train)
    grid = {"aug": {"none", "crop", "flip", "cutmix", "randaugment"}, "model": {f"wrn40-{k}" for k in (1, 2, 4, 8)}}
    assert {cfg[axis].name for cfg in train} == grid[axis]
    assert all(cfg.measure.transform.elements == list(range(1, 17)) for cfg in measure)
