"""Networks of timm and torchvision by name, and a user's own: one command, and errors of one line."""

import json
import math
import pickle
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn

import equivariance as eq
from equivariance.errors import UserError
from equivariance.rows import read
from equivariance.study import models
from equivariance.study.cli import jobs as experiments
from equivariance.study.config import CONF
from equivariance.study.measuring import Measurement
from equivariance.study.models import library
from equivariance.study.models.weights import digest
from equivariance.transforms.protocol import preparation

pytestmark = pytest.mark.slow

OWN = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, width=4):
        body = [nn.Conv2d(1, width, 3, 2), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()]
        super().__init__(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


class Asking(Net):
    def __init__(self, width):
        super().__init__(width)
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


def data_set(**given):
    """`conf/dataset/image_folder.yaml` with some values given."""
    cfg = OmegaConf.create({"dataset": OmegaConf.load(CONF / "dataset/image_folder.yaml")})
    return OmegaConf.merge(cfg, {"dataset": {"root": "somewhere", **given}}).dataset


@pytest.mark.parametrize("group", ["timm", "torchvision"])
def test_size_mean_and_deviation_are_the_librarys(group):
    dataset = data_set()
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
            r"No module named 'nowhere'; give MODULE.CLASS, found from",
        ),
        (("model=own", "model._target_=users_own.Nut"), r"no attribute 'Nut'"),
        (
            ("model=own", "model._target_=users_own.Asking", "measure.trained=false"),
            r"cannot be built: .* 'width'; \+model.ARGUMENT=VALUE gives an argument",
        ),
        (("model.weights=missing.pt",), r"model.weights=missing.pt: there is no such file"),
        (("model.weights=users_own.py",), r"users_own.py: cannot be read as tensors"),
        (
            ("model.weights=other.pt",),
            r"other.pt: is of another network than Net: 0.weight, .* and 2 more: missing; weight: not",
        ),
        ((), r"no trained network in .* train.py .* model.weights=.*, run=FOLDER .*, or measure.trained=false"),
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
    from equivariance.layers.find import find_layers

    with pytest.raises(UserError, match="cannot be traced back to the image"):
        find_layers(Constant(), torch.rand(3, 8, 8))


class Constant(nn.Module):
    def forward(self, x):
        return torch.zeros(len(x), 3)


def built(cfg, size=160):
    return models.build(cfg, (3, size, size), 1)


@pytest.mark.parametrize(
    ("group", "name", "size", "ending"),
    [("timm", "test_resnet", 160, ".safetensors"), ("torchvision", "mobilenet_v3_small", 224, ".pth")],
)
def test_weights_of_a_librarys_network_from_a_file(tmp_path, group, name, size, ending):
    theirs = built(model_config(group, name=name), size)
    file = tmp_path / f"net{ending}"
    (save_file if ending == ".safetensors" else torch.save)(theirs.state_dict(), file)
    more = {"pretrained": True} if group == "timm" else {}  # the file wins: nothing is downloaded
    cfg = model_config(group, name=name, weights=str(file), **more)
    assert models.brings_weights(cfg) and not models.brings_weights(models.untrained(cfg))
    assert digest(built(cfg, size)) == digest(theirs)
    assert digest(built(model_config(group, name=name), size)) != digest(theirs)


def test_a_file_under_torchvisions_own_name_brings_that_weights_transform(tmp_path):
    v1, v2 = torchvision.models.ResNeXt101_32X8D_Weights
    dataset = data_set()
    for weights in (v1, v2):
        file = str(tmp_path / weights.url.rpartition("/")[2])
        found = models.prepare(dataset, model_config("torchvision", name="resnext101_32x8d", weights=file))
        assert [found.transform.resize] == weights.transforms().resize_size


def test_nothing_in_a_file_of_weights_is_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": {"weight": Trap()}}, tmp_path / "trap.pth")
    for group, name in (("timm", "test_resnet"), ("torchvision", "mobilenet_v3_small")):
        cfg = model_config(group, name=name, weights=str(tmp_path / "trap.pth"))
        with pytest.raises(UserError, match=r"holds more than tensors.*could run code from it"):
            built(cfg, 224)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "trap.pth", weights_only=False)  # nor does a library that asks for more
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("group", ["timm", "torchvision"])
def test_weights_that_cannot_be_reached(tmp_path, monkeypatch, group):
    """One line says where they were looked for and how to bring them."""

    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = {"pretrained": True} if group == "timm" else {"weights": "DEFAULT"}
    name = "test_resnet.r160_in1k" if group == "timm" else "mobilenet_v3_small"
    with pytest.raises(UserError) as error:
        built(model_config(group, name=name, **weights), 160)
    line = str(error.value)
    assert "\n" not in line and f"cannot get the weights of {name}" in line and "model.weights=FILE" in line
    assert (str(tmp_path / "hub/checkpoints/mobilenet_v3_small") if group != "timm" else "models--timm--") in line


def test_far_from_the_published_accuracy_is_refused():
    check = models.check_accuracy
    cfg = model_config("timm", name="test_resnet", published={"top1": 80.0, "source": "a table"})
    check(cfg, 0.76, 1000)
    check(cfg, 0, 10)  # too few to tell
    check(cfg, math.nan, 1000)
    with pytest.raises(UserError, match=r"right on 50.0% of 1000 images, published are 80.0% \(a table\)"):
        check(cfg, 0.5, 1000)
    check(model_config("timm", name="test_resnet"), 0, 1000)


@pytest.mark.parametrize(("transform", "refused"), [(eq.rotations([90]), True), (eq.rotations([45]), False)])
def test_the_accuracy_of_discs_of_images_is_not_compared_with_the_published_one(transform, refused, monkeypatch):
    network = model_config("timm", name="test_resnet", published={"top1": 93.1, "source": "a table"})
    metric = SimpleNamespace(prepare=preparation(transform), accuracy=0.83, images=1000, check_alive=lambda: None)
    job = object.__new__(Measurement)
    vars(job).update(published=True, network=network, metric=metric)
    monkeypatch.setattr(Measurement, "example", torch.ones(1, 3, 8, 8))
    with pytest.raises(UserError, match="wrong weights") if refused else nullcontext():
        job.check()


def test_the_six_architectures_name_their_weights():
    jobs = experiments.jobs("architectures", "measure")
    assert len(jobs) == 18 and len({job.model.name for job in jobs}) == 6
    for job in jobs:
        assert models.brings_weights(job.model) and job.model.published.source
        if "torchvision" in job.model._target_:
            theirs = torchvision.models.get_model_weights(job.model.architecture)[job.model.weights]
            assert job.model.published.top1 == theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        else:
            assert timm.is_model_pretrained(job.model.architecture)
        prepared = models.prepare(job.dataset, job.model)
        expected = {"efficientnet_b6": 528, "efficientnet_b7": 600, "inception_v3": 299}
        assert prepared.size == expected.get(job.model.name, 224)


@pytest.mark.parametrize("group", ["timm", "torchvision"])
def test_what_the_user_gives_for_the_images_wins(group):
    model, said = model_config(group, name="resnet18"), []
    own = models.prepare(data_set(), model, said.append)
    given = {"mean": [0.1, 0.2, 0.3], "transform": {"_target_": "mine"}}
    found = models.prepare(data_set(**given), model, said.append)
    assert found.mean == given["mean"] and found.transform == given["transform"]
    assert (found.std, found.size) == (own.std, own.size) and own.mean != found.mean and own.transform
    assert "dataset.mean=[0.1, 0.2, 0.3] (as given)" in said[1] and "dataset.size=224 (its own)" in said[1]
    plain = models.prepare(data_set(), model_config("cnn7"), said.append)
    assert plain.mean == data_set().statistics.mean and len(said) == 2  # the data set's own: nothing to say
    assert "transform" not in plain and "statistics" not in plain  # as in checkpoints of before


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("dataset.size=big", r"dataset.size=big: needs pixels"),
        ("dataset.size=-5", r"dataset.size=-5: needs pixels"),
        ("dataset.size=[28]", r"dataset.size=\[28\]: needs pixels"),
        ("dataset.std=[-1,1,1]", r"dataset.std=\[-1,1,1\]: needs a list of numbers above 0"),
        ("dataset.std=[0,1,1]", r"dataset.std=\[0,1,1\]: needs a list of numbers above 0"),
        ("dataset.std=[1]", r"dataset.std=\[1\]: needs 3 numbers"),
        ("dataset.mean=[a,1,1]", r"dataset.mean=\[a,1,1\]: needs a list of numbers"),
        ("dataset.mean=[nan,1,1]", r"dataset.mean=.*: needs a list of numbers"),
        ("model.weights=[a]", r"model.weights=\[a\]: needs the name of a file"),
        ("model.weights=5", r"model.weights=5: needs the name of a file"),
    ],
)
def test_wrong_values_of_images_and_weights_are_named(run, folder, given, line):
    arguments = ("dataset=image_folder", folder, "model=resnet44", "measure.trained=false", given)
    result = run("measure.py", *arguments)
    assert result.code == 1 and re.search(line, result.error), result.error
    assert result.error.strip().count("\n") == 0


def test_a_network_of_the_hub_is_built_as_its_description_says(tmp_path, monkeypatch):
    """From the cache of the hub's client, as after a download."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(library.constants, "HF_HUB_CACHE", str(tmp_path))
    theirs = timm.create_model("test_vit", num_classes=7)
    snapshot = tmp_path / "models--me--net/snapshots/abc"
    snapshot.mkdir(parents=True)
    save_file(theirs.state_dict(), snapshot / "model.safetensors")
    fixed = {
        "input_size": [3, 160, 160],
        "mean": [0.4] * 3,
        "std": [0.3] * 3,
        "num_classes": 7,
        "fixed_input_size": True,
    }
    description = {"architecture": "test_vit", "num_classes": 7, "pretrained_cfg": fixed}
    (snapshot / "config.json").write_text(json.dumps(description))
    (tmp_path / "models--me--net/refs").mkdir()
    (tmp_path / "models--me--net/refs/main").write_text("abc")
    for given in ({"name": "hf-hub:me/net"}, {"name": "mine", "architecture": "hf-hub:me/net"}):
        cfg = model_config("timm", pretrained=True, **given)
        assert models.prepare(data_set(), cfg).mean == [0.4] * 3
        assert digest(built(cfg)) == digest(theirs)
    with pytest.raises(UserError, match=r"cannot get the weights of hf-hub:me/other .* not in .*models--me--other"):
        built(model_config("timm", name="mine", architecture="hf-hub:me/other"))


class Edited(nn.Module):
    """A network whose code can be changed without its weights."""

    def __init__(self, scale=1.0, shift=(0.0,), activation=torch.relu):
        super().__init__()
        self.convolution, self.scale, self.shift = nn.Conv2d(1, 2, 3), scale, shift
        self.activation = activation

    def forward(self, x):
        return self.scale * self.activation(self.convolution(x)).mean((2, 3)) + torch.tensor(self.shift)


def test_what_a_network_computes_is_part_of_its_identity():
    def computes(*given, seed=0):
        torch.manual_seed(seed)
        return models.computation_digest(Edited(*given), (1, 8, 8))

    assert computes() == computes(seed=1)  # the weights have a digest of their own
    changed = [computes(2.0), computes(1.0, (0.5,)), computes(1.0, (0.0,), torch.tanh), computes()]
    assert len({*changed}) == 4
    model = Edited().train()
    models.computation_digest(model, (1, 8, 8))
    assert model.training and model.convolution.training
