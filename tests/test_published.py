"""Published weights: names, errors, a measurement, and the accuracy on the real images where they are."""

import os
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import REPOSITORY

from equivariance.data import datasets as data
from equivariance.data.datasets import Images
from equivariance.errors import UserError
from equivariance.models import ResNet
from equivariance.models.weights import load
from equivariance.training.hardware import Hardware
from equivariance.training.trainer import evaluate

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
        "text.th": "cannot be read as tensors|holds more than tensors, or no tensors",
        "list.th": "holds no state dict",
        "model.th": "holds more than tensors, or no tensors; it is not opened, as that could run code",
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
    (folder,) = (tmp_path / "runs/digits6/resnet14/none/seed0/measure").glob("translation-resnet14-12ab-????????")
    rows = pd.read_csv(folder / "results.csv")
    assert rows.trained.all() and rows.epochs.isna().all() and rows.aug.isna().all()
    assert rows.accuracy.nunique() == 1 and rows.accuracy.between(0, 1).all()
    assert "is complete" in run("measure.py", *given, f"model.weights={weights}").out
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
    assert len(images) == 10000 and 100 * accuracy == pytest.approx(percent, abs=0.011)
