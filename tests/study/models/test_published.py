"""Published weights: names, errors, a measurement, and the accuracy on the real images where they are."""

import argparse
import hashlib
import os
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from equivariance import rows
from equivariance.errors import UserError
from equivariance.study import models
from equivariance.study.cli.jobs import jobs
from equivariance.study.config import CONF
from equivariance.study.data import datasets as data
from equivariance.study.data.datasets import Images
from equivariance.study.models import ResNet, WideResNet, public
from equivariance.study.models.weights import digest, load
from equivariance.study.training.hardware import Hardware
from equivariance.study.training.trainer import evaluate
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

# The real images, and the files of akamaster/pytorch_resnet_cifar10; tests that need them are skipped elsewhere.
DATA = Path(os.environ.get("EQUIVARIANCE_DATA", REPOSITORY / "data"))
WEIGHTS = Path(os.environ.get("EQUIVARIANCE_WEIGHTS", DATA))


def their_state(model):
    """The state of one of our networks under the names of akamaster/pytorch_resnet_cifar10."""
    blocks = len(model.blocks) // 3

    def their_name(name):
        name = re.sub(r"^stem\.0", "conv1", re.sub(r"^stem\.1", "bn1", re.sub(r"^final", "linear", name)))
        return "module." + re.sub(
            r"^blocks\.(\d+)", lambda match: "layer{}.{}".format(*stage_and_place(int(match[1]))), name
        )

    def stage_and_place(index):
        return index // blocks + 1, index % blocks

    state = {their_name(name): value for name, value in model.state_dict().items()}
    return {name: value for name, value in state.items() if "num_batches" not in name}  # older than PyTorch 0.4.1


def test_weights_from_codebooks():
    """Filters are the entries that the codes name; a norm without statistics has mean 0 and variance 1."""
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1, bias=False), torch.nn.BatchNorm2d(3))
    stored = {"0.codebook": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "0.codes_matrix": torch.tensor([[1], [0], [1]])}
    stored |= {"1.weight": torch.full((3,), 5.0), "1.bias": torch.full((3,), 6.0)}
    model.load_state_dict(public.from_codebooks(stored, model.state_dict()))
    out = model.eval()(torch.ones(1, 2, 1, 1)).flatten()
    assert out.tolist() == pytest.approx([6 + 5 * total for total in (7, 3, 7)], rel=1e-5)  # the norm adds 1e-5


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    torch.save({"best_prec1": 93.1, "state_dict": their_state(ResNet(1, 6, 14))}, tmp_path / "resnet14-12ab.th")
    return tmp_path / "resnet14-12ab.th"


def test_every_name_is_mapped(weights, tmp_path):
    torch.manual_seed(1)
    original, loaded = ResNet(1, 6, 14), ResNet(1, 6, 14)
    load(loaded, weights)
    for name, value in original.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    torch.save(torch.load(weights)["state_dict"], tmp_path / "bare.th")
    load(ResNet(1, 6, 14), tmp_path / "bare.th")


def test_anything_else_is_refused_in_one_line(weights, tmp_path):
    refused = {
        "missing.th": "there is no such file",
        "text.th": "cannot be read as tensors",
        "list.th": "holds no state dict",
        "model.th": "holds no state dict .*; a whole module is not opened, as that could run code",
        "empty.th": "holds no state dict",
        "half.safetensors": "cannot be read as tensors",
        weights.name: "is of another network than ResNet",
    }
    (tmp_path / "text.th").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.th")
    torch.save(ResNet(1, 6, 8), tmp_path / "model.th")  # a pickled object, whose code would run
    torch.save({}, tmp_path / "empty.th")
    (tmp_path / "half.safetensors").write_bytes(b"\x10")
    for name, message in refused.items():
        with pytest.raises(UserError, match=message) as error:
            load(ResNet(1, 6, 20), tmp_path / name)
        assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="is of another network"):
        load(ResNet(1, 10, 14), weights)


def test_published_weights_are_measured_as_trained_without_a_run(run, tmp_path, weights):
    given = ("model=resnet44", "model.depth=14", "dataset=digits6", "measure=translation", "measure.images=30")
    given += ("measure.transform.elements=[4]",)
    result = run("measure.py", *given, f"model.weights={weights}")
    assert result.code == 0, result.error
    assert "given weights" in result.out and "epochs" not in result.out
    (folder,) = (tmp_path / "runs/digits6/resnet14/none/seed0/measure").glob("translation*-resnet14-12ab-????????*")
    table = rows.read(folder / "results.csv")
    assert table.trained.all() and table.epochs.isna().all() and table.aug.isna().all()
    assert table.accuracy.nunique() == 1 and table.accuracy.between(0, 1).all()
    assert "is complete" in run("measure.py", *given, f"model.weights={weights}").out
    assert "on all held-out images" in result.out
    alone = run(
        "measure.py", *given, f"model.weights={weights}", "measure.whole_accuracy=false", "measure.name=alone"
    )
    assert alone.code == 0 and "on the measured images" in alone.out and "held-out" not in alone.out
    refused = run("train.py", *given, f"model.weights={weights}")
    assert refused.code == 1 and "model.weights" in refused.error and "is already trained" in refused.error


@pytest.mark.parametrize(
    ("depth", "file", "percent"), [(20, "resnet20-12fca82f.th", 91.73), (44, "resnet44-014dd654.th", 93.10)]
)
def test_published_accuracy_on_cifar10(depth, file, percent):
    if not any((DATA / folder).is_dir() for folder in ("cifar10/test", "cifar-10-batches-py")):
        pytest.skip(f"no CIFAR-10 in {DATA}: EQUIVARIANCE_DATA=FOLDER names another place")
    if not (WEIGHTS / file).is_file():
        pytest.skip(f"no {file} in {WEIGHTS}: EQUIVARIANCE_WEIGHTS=FOLDER names another place")
    hardware = Hardware(precision="float32")
    pixels, labels, classes = data.cifar10(DATA, False, "held_out")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = Images(pixels, labels, classes, mean, std).to(hardware.device)
    model = hardware.place(ResNet(3, 10, depth))
    load(model, WEIGHTS / file)
    _, accuracy = evaluate(model, images, hardware)
    assert len(images) == 10000 and 100 * accuracy == pytest.approx(
        percent, abs=0.031
    )  # three images, whose two best classes rounding may exchange


@pytest.fixture
def small():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def loaded(small, file, key=None):
    other = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    load(other, file, key)
    return digest(other) == digest(small)


def prefixed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def test_checkpoints_of_other_programs_load(small, tmp_path):
    """torchvision's reference scripts, Lightning, torch.compile, averaged weights."""
    state, file = small.state_dict(), tmp_path / "net.pth"
    ema = {"n_averaged": torch.tensor(3), **prefixed(state, "module.")}
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
    options = argparse.Namespace(lr=0.1, path=Path("x"), shape=np.zeros(2))
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    for content in (
        {"model": state, "optimizer": optimizer, "args": options, "epoch": 3, "best": np.float64(0.5)},
        {"state_dict": prefixed(state, "model."), "hyper_parameters": defaultdict(list, a=[1]), "callbacks": {}},
        {"state_dict": prefixed(state, "model.") | {"loss.weight": torch.zeros(2)}},
        {"ema": prefixed(state, "module._orig_mod.")},
        {"model_ema": ema},
        {"model": state, "ema": other},
    ):
        for zip_file in (True, False):
            torch.save(content, file, _use_new_zipfile_serialization=zip_file)
            assert loaded(small, file), content
    torch.save({"ema": {"model": state}, "model": other}, file)
    assert loaded(small, file, "ema.model") and not loaded(small, file)
    torch.save({"state_dict": prefixed(state, "teacher.") | prefixed(other, "student.")}, file)
    with pytest.raises(
        UserError, match=r"several times; choose a model.weights_key: state_dict.teacher, state_dict.student"
    ):
        loaded(small, file)
    torch.save({**prefixed(state, "teacher."), **prefixed(other, "student.")}, file)
    assert loaded(small, file, "teacher") and not loaded(small, file, "student")


def test_a_checkpoint_that_does_not_fit_names_its_keys(small, tmp_path):
    file = tmp_path / "net.pth"
    torch.save({"a": small.state_dict(), "b": small.state_dict()}, file)
    with pytest.raises(UserError, match=r"holds the network several times; choose .*: a, b$"):
        loaded(small, file)
    with pytest.raises(UserError, match=r"holds no c; choose .* one of a, a.1, b, b.1$"):
        loaded(small, file, "c")
    torch.save({"epoch": 3, "loss": 0.1}, file)
    with pytest.raises(UserError, match=r"holds no state dict \(its keys are epoch, loss\)"):
        loaded(small, file)
    torch.save({"features.weight": torch.zeros(2)}, file)
    with pytest.raises(
        UserError, match=r"0.weight, .*: missing; features.weight: not .*; the file has features.weight$"
    ):
        loaded(small, file)


def test_tensors_of_other_names_load_in_the_order_of_the_network(small, tmp_path):
    file, values = tmp_path / "net.pth", [*small.state_dict().values()]
    other = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    torch.save({f"_{place}": value for place, value in enumerate(values)}, file)
    with pytest.raises(UserError, match="is of another network"):
        load(other, file)
    load(other, file, in_order=True)
    assert digest(other) == digest(small)
    for wrong in (values[::-1], values[:-1]):
        torch.save({f"_{place}": value for place, value in enumerate(wrong)}, file)
        with pytest.raises(UserError, match="is of another network"):
            load(other, file, in_order=True)


def test_weights_for_wide_resnets_are_given_as_for_resnets(run, tmp_path):
    save_file(WideResNet(1, 6, 10).state_dict(), tmp_path / "wrn.safetensors")
    given = ("model=wrn40", "model.depth=10", "dataset=digits6", "measure.images=20", "measure.blocks=1")
    result = run("measure.py", *given, f"model.weights={tmp_path / 'wrn.safetensors'}")
    assert result.code == 0 and "given weights" in result.out, result.error


PUBLIC = Path(os.environ.get("EQUIVARIANCE_PUBLIC", DATA / "public"))


def test_the_presets_are_the_table_of_published_networks():
    presets = [OmegaConf.load(CONF / f"experiment/public_{name}.yaml") for name in ("cifar", "imagenet")]
    named = ",".join(preset.hydra.sweeper.params["model.name"] for preset in presets).replace(" ", "").split(",")
    assert sorted(named) == sorted(public.table())
    swept = [jobs(name, "measure", ("weights_dir=nowhere",)) for name in ("consistency", "consistency_imagenet")]
    assert {cfg.model.name for of in swept for cfg in of} == set(named)
    for name, row in public.table().items():
        assert row["licence"] and row["repository"] and len(row["sha256"]) == 64 and row["path"]
        wanted = public.preprocessing(name)
        assert (
            len(public.classes(name)) == (10 if row["dataset"] == "cifar10" else 1000) and len(wanted["mean"]) == 3
        )
    for name in (
        "akamaster_resnet20",
        "zskt_wrn_16_2",
        "mobilenet_v1_0.25_128",
        "squeezenet1_1",
        "efficientnet_lite0",
    ):
        given = {"name": name, "network": name, "weights_dir": "nowhere", "published": None}
        cfg = OmegaConf.merge(OmegaConf.load(CONF / "model/public.yaml"), given)
        assert models.brings_weights(cfg) and not models.brings_weights(models.untrained(cfg))
        side = public.preprocessing(name)["size"]
        shape = (3, side, side)
        model = models.build(models.untrained(cfg), shape, 0).eval()
        assert model(torch.zeros(1, *shape)).shape[1] == len(public.classes(name))


def test_a_blur_before_named_modules():
    """The binomial filter of the inputs of these modules, and nothing else; the weights stay as they are."""
    torch.manual_seed(0)
    plain = public.network("akamaster_resnet44", "nowhere", pretrained=False).double().eval()
    torch.manual_seed(0)
    blurred = public.network("akamaster_resnet44", "nowhere", pretrained=False, blur=["blocks.7"]).double().eval()
    before = plain.blocks[6](plain.stem(torch.rand(2, 3, 32, 32).double()))
    kernel = torch.tensor([1.0, 2, 1]).double() / 4
    channels = before.shape[1]
    padded = torch.nn.functional.pad(before, [1] * 4, mode="reflect")
    expected = torch.nn.functional.conv2d(padded, kernel.outer(kernel).expand(channels, 1, 3, 3), groups=channels)
    torch.testing.assert_close(blurred.blocks[7](before), plain.blocks[7](expected))
    torch.testing.assert_close(blurred.blocks[8](plain.blocks[7](before)), plain.blocks[8](plain.blocks[7](before)))
    with pytest.raises(UserError, match=r"model\.blur=layer2\.0: akamaster_resnet44 has no module"):
        public.network("akamaster_resnet44", "nowhere", pretrained=False, blur=["layer2.0"])


def test_a_missing_or_other_file_says_where_the_right_one_comes_from(run, tmp_path):
    given = ("model=public", "dataset=digits6", "model.name=zskt_wrn_16_1", f"model.weights_dir={tmp_path}")
    missing = run("measure.py", *given)
    assert missing.code == 1 and re.search(
        r"zskt_wrn_16_1.safetensors is not there: it is PreTrainedModels/.* of COMP6248.* at commit 4b3d489 "
        r"\(licence: none\), its tensors under the names of this project's network; weights_dir=FOLDER",
        missing.error,
    )
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10/zskt_wrn_16_1.safetensors").write_bytes(b"other")
    assert "is not the table's file: its SHA-256 is" in run("measure.py", *given).error
    unknown = run("measure.py", *given, "model.name=resnet")
    assert unknown.code == 1 and "the table of published networks has akamaster_resnet20, " in unknown.error


def test_a_published_network_loads_from_a_file_with_its_hash(tmp_path, monkeypatch):
    """A made file, which the table is made to expect."""
    row = public.entry("zskt_wrn_16_1")
    made, file = public.network("zskt_wrn_16_1", "nowhere", pretrained=False), tmp_path / row["file"]
    file.parent.mkdir()
    save_file(made.state_dict(), file)
    monkeypatch.setitem(row, "sha256", hashlib.sha256(file.read_bytes()).hexdigest())
    assert digest(public.network("zskt_wrn_16_1", str(tmp_path))) == digest(made)
    assert digest(public.network("zskt_wrn_16_1", str(tmp_path), pretrained=False)) != digest(made)


def test_the_published_files_load():
    there = [name for name in public.table() if (PUBLIC / public.entry(name)["file"]).is_file()]
    if not there:
        pytest.skip(f"no published weights in {PUBLIC}: EQUIVARIANCE_PUBLIC=FOLDER names another place")
    for name in there:
        trained, untrained = (public.network(name, str(PUBLIC), trained) for trained in (True, False))
        assert digest(trained) != digest(untrained), name
