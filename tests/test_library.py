"""Networks of timm and torchvision by name, and a user's own: one command, and errors of one line."""

import re

import pytest
import timm
import torch
import torchvision
from omegaconf import OmegaConf
from torch import nn

from equivariance import models
from equivariance.cli import CONF
from equivariance.errors import UserError
from equivariance.rows import read

OWN = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, width=4):
        body = [nn.Conv2d(1, width, 3, 2), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()]
        super().__init__(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A network of the user's, in the folder where the command is run."""
    (tmp_path / "users_own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return "dataset=digits6", "model=own", "model._target_=users_own.Net", "measure.images=20"


@pytest.fixture
def folder(folder):
    return f"dataset.root={folder}"


def model_config(group, **values):
    cfg = OmegaConf.create({"model": OmegaConf.load(CONF / f"model/{group}.yaml")})
    return OmegaConf.merge(cfg, {"model": values}).model


def test_a_network_of_timm_takes_images_of_its_own_size(run, folder, tmp_path):
    given = ("dataset=image_folder", folder, "model=timm", "model.name=test_vit", "measure.trained=false")
    result = run("measure.py", *given)
    assert result.code == 0, result.error
    rows = read(next(tmp_path.rglob("results.csv")))
    assert set(rows.model) == {"test_vit"} and rows.layer.nunique() == 9 and rows.value.between(0, 1).all()
    smaller = run("measure.py", *given, "dataset.size=100")
    assert (
        smaller.code == 1 and "it was made for 3x160x160" in smaller.error and "dataset.size=160" in smaller.error
    )


@pytest.mark.parametrize("group", ["timm", "torchvision"])
def test_size_mean_and_deviation_are_the_librarys(group):
    dataset = OmegaConf.create({"size": None, "mean": [0.5] * 3, "std": [1.0] * 3})
    name = "inception_v3"
    found = models.prepare(dataset, model_config(group, name=name))
    if group == "timm":
        theirs = timm.get_pretrained_cfg(name)
        size = theirs.input_size[1]
    else:
        theirs = torchvision.models.Inception_V3_Weights.DEFAULT.transforms()
        (size,) = theirs.crop_size
    assert (found.size, list(found.mean), list(found.std)) == (size, list(theirs.mean), list(theirs.std))
    assert models.prepare(dataset, model_config("cnn7")).size == 224


def test_a_dry_run_prints_the_layers_and_needs_no_data(run, tmp_path):
    result = run("measure.py", "model=timm", "model.name=test_mambaout", "measure.dry_run=true")
    assert result.code == 0, result.error
    assert re.search(r"stages.3.blocks.0 +n h w c +64 +5 x 5 +32 +late\n", result.out)
    assert re.search(r"left out: stages.1.downsample: leads from one block to the next", result.out)
    assert not list(tmp_path.rglob("*.csv"))


def test_layers_by_pattern(run, own):
    result = run("measure.py", *own, "measure.trained=false", "measure.dry_run=true", "measure.layers=['[13]','6']")
    assert result.code == 1 and "no module's name matches [13]" in result.error
    result = run("measure.py", *own, "measure.trained=false", "measure.layers=['?']")
    assert result.code == 0 and result.out.count("\n") > 7, result.error


def test_an_own_network_with_weights(run, own, tmp_path):
    width = 5
    model = nn.Sequential(
        *(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)),
    )
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "net.pt")
    result = run("measure.py", *own, "+model.width=5", "model.weights=net.pt")
    assert result.code == 0 and "given weights" in result.out, result.error
    rows = read(next(tmp_path.rglob("results.csv")))
    assert rows.layer.unique().tolist() == ["1", "3", "pool", "final"] and rows.trained.all()
    assert rows.channels.unique().tolist() == [5, 3]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("model=timm", "model.name=resnet19"),
            r"timm has no such classification network; did you mean .*resnet18",
        ),
        (("model=torchvision", "model.name=resnet19"), r"torchvision has no such .* did you mean .*resnet18"),
        (("model=torchvision", "model.name=resnet18", "model.weights=V3"), r"resnet18 has IMAGENET1K_V1"),
        (("model=timm",), r"no value for model.name: give model.name=VALUE"),
        (
            ("model=own", "model._target_=nowhere.Net"),
            r"No module named 'nowhere'; give MODULE.CLASS, importable in",
        ),
        (("model=own", "model._target_=users_own.Nut"), r"no attribute 'Nut'"),
        (("model.weights=missing.pt",), r"model.weights=missing.pt: there is no such file"),
        (("model.weights=users_own.py",), r"users_own.py: (cannot be read as|holds more than) tensors"),
        (
            ("model.weights=other.pt",),
            r"other.pt is of another network than Net: 0.weight is missing; .* and 5 more",
        ),
        ((), r"no trained network in .*: run python train.py .*, model.weights=.*, or measure.trained=false"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(run, own, tmp_path, arguments, line):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    if any(argument.startswith("model=") and argument != "model=own" for argument in arguments):
        own = own[:1]
    result = run("measure.py", *own, *arguments)
    assert result.code == 1 and result.error.strip().count("\n") == 0, result.error
    assert re.search(line, result.error), result.error
    assert not list(tmp_path.rglob("*.csv"))


def test_a_network_without_maps_is_refused():
    from equivariance.features import find_layers

    with pytest.raises(UserError, match="does not depend on the image"):
        find_layers(Constant(), torch.rand(3, 8, 8))


class Constant(nn.Module):
    def forward(self, x):
        return torch.zeros(len(x), 3)
