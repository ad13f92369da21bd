"""Wrong input: one line that says what was wrong, where, and what to do; nothing is written."""

import re
import runpy
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from equivariance.errors import UserError
from equivariance.study.data import datasets as data
from equivariance.study.models import CNN7
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

DIGITS = ("dataset=digits6", "model=cnn7")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("model=foo",), r"unknown model foo: choose one of .*cnn7.*resnet44"),
        (("experiment=symetry",), r"unknown experiment symetry: did you mean symmetry\? There is .*quickstart, "),
        (("modle=cnn7",), r"unknown key modle: did you mean model\?"),
        (("recipe.epochz=3",), r"unknown key recipe.epochz: did you mean epochs\?"),
        (("measure.transform.element=[90]",), r"unknown key .*: did you mean elements\?"),
        ((*DIGITS, "recipe.epochs=-1"), r"recipe.epochs=-1: needs a whole number from 1 on"),
        ((*DIGITS, "recipe.epochs=many"), r"recipe.epochs=many: needs a whole number"),
        ((*DIGITS, "recipe.batch_size=5000"), r"batch_size=5000: larger than the training set of 811 images"),
        ((*DIGITS, "recipe.lr=0"), r"recipe.lr=0: needs a number above 0"),
        ((*DIGITS, "recipe.lr=nan"), r"recipe.lr=nan: needs a number above 0"),
        ((*DIGITS, "recipe.lr=inf"), r"recipe.lr=inf: needs a number above 0"),
        ((*DIGITS, "recipe.lr=fast"), r"recipe.lr=fast: needs a number"),
        ((*DIGITS, "recipe.factor=nan"), r"recipe.factor=nan: needs a number above 0"),
        ((*DIGITS, "recipe.weight_decay=-1"), r"recipe.weight_decay=-1: needs a number from 0 on"),
        ((*DIGITS, "recipe.milestones=5"), r"recipe.milestones=5: needs a rising list of whole numbers"),
        ((*DIGITS, "recipe.milestones=[a]"), r"recipe.milestones=\[a\]: needs a rising list of whole numbers"),
        ((*DIGITS, "recipe.milestones=[5,3]"), r"recipe.milestones=\[5,3\]: needs a rising list"),
        ((*DIGITS, "recipe.milestones=null"), r"recipe.milestones=null: needs a rising list"),
        ((*DIGITS, "recipe.milestones={a:1}"), r"recipe.milestones={a:1}: needs a rising list"),
        ((*DIGITS, "recipe.keep={a:1}"), r"recipe.keep={a:1}: needs a list of epochs"),
        ((*DIGITS, "recipe.optimiser=sgd"), r"recipe.momentum=null: needs a number from 0 to below 1"),
        ((*DIGITS, "recipe.momentum=-1"), r"recipe.momentum=-1: needs a number from 0 to below 1"),
        ((*DIGITS, "recipe.momentum=abc"), r"recipe.momentum=abc: needs a number from 0 to below 1, or null"),
        ((*DIGITS, "recipe.schedule=one_cycle"), r"recipe.warm_up=null: needs a number of epochs above 0"),
        ((*DIGITS, "recipe.keep=[101]"), r"recipe.keep=\[101\]: needs .* from 0 to recipe.epochs=100"),
        ((*DIGITS, "+recipe.nesterov=true"), r"unknown key recipe.nesterov: there is epochs, batch_size"),
        ((*DIGITS, "hardware.threads=1.5"), r"hardware.threads=1.5: needs a whole number from 1 to 1024, or null"),
        ((*DIGITS, "hardware.device=meta"), r"hardware.device=meta: "),
        ((*DIGITS, "hardware.compile=3"), r"hardware.compile=3: choose auto, true, false"),
        ((*DIGITS, "hardware=fast"), r"hardware=fast: needs its keys, device, precision"),
        ((*DIGITS, "measure.images=some"), r"measure.images=some: needs a whole number"),
        ((*DIGITS, "measure.trained=maybe"), r"measure.trained=maybe: needs true or false"),
        (("dataset=null",), r"dataset=null: choose one of cifar10, digits6"),
        ((*DIGITS, "measure=null"), r"measure=null: choose one of .*rotation"),
        ((*DIGITS, "seed=-1"), r"seed=-1: needs a whole number from 0 on"),
        ((*DIGITS, "model.name=../.."), r"model.name=../..: needs a name for a folder inside runs_dir"),
        ((*DIGITS, "measure.name=/tmp/x"), r"measure.name=/tmp/x: needs a name for a folder inside runs_dir"),
        ((*DIGITS, "run_dir=''"), r"run_dir=: needs a folder"),
        ((*DIGITS, "recipe.optimiser=lion"), r"recipe.optimiser=lion: choose adam, adamw, sgd"),
        ((*DIGITS, "seed=x"), r"seed=x: needs a whole number from 0 on"),
        ((*DIGITS, "hardware.device=tpu9"), r"hardware.device=tpu9: "),
        ((*DIGITS, "hardware.threads=0"), r"hardware.threads=0: needs a whole number from 1 to 1024, or null"),
        ((*DIGITS, "hardware.precision=int4"), r"precision=int4: choose auto, float32, bfloat16"),
        ((*DIGITS, "hardware.compile=maybe"), r"hardware.compile=maybe: choose auto, true, false"),
        ((*DIGITS, "wandb.mode=maybe"), r"wandb.mode=maybe: choose auto, online, offline, disabled"),
        ((*DIGITS, "model.padding=-1"), r"model cnn7 \(.*model.padding=-1\) cannot take images of 1x28x28"),
        (("model=resnet44", "dataset=digits6", "model.depth=43"), r"model.depth=43: CIFAR ResNets have 6 n \+ 2"),
        ((*DIGITS, "model=wrn40", "model.width=0"), r"model.width=0: needs a whole number from 1 on"),
        ((*DIGITS, "aug=crop", "aug.crop.padding=-1"), r"aug.crop.padding=-1: needs a whole number from 1"),
        ((*DIGITS, "aug=flip", "aug.flip.probability=2"), r"aug.flip.probability=2: needs a number from 0 to 1"),
        ((*DIGITS, "aug=cutmix", "aug.cutmix.probability=no"), r"aug.cutmix.probability=no: needs a number"),
        ((*DIGITS, "aug=randaugment", "aug.randaugment.magnitude=31"), r"magnitude=31: needs .* from 0 to 30"),
        (
            (*DIGITS, "aug=randaugment", "aug.randaugment.operations=0"),
            r"operations=0: needs a whole number from 1",
        ),
        ((*DIGITS, "+aug.mixup.alpha=1"), r"aug.mixup=\{'alpha': 1\} is no augmentation; conf/aug/crop.yaml shows"),
        ((*DIGITS, "aug=crop", "+aug.crop.fill=1"), r"aug.crop: .*unexpected keyword argument 'fill'"),
        (("aug=mixup",), r"unknown aug mixup: choose one of crop, crop_flip, cutmix, flip, none, randaugment"),
        (("dataset=image_folder", "model=cnn7"), r"no value for dataset.root: give dataset.root=VALUE"),
    ],
)
def test_train_refuses_in_one_line(run, tmp_path, arguments, line):
    result = run("train.py", *arguments)
    assert result.code == 1
    assert result.error.startswith("train.py: ") and result.error.strip().count("\n") == 0, result.error
    assert re.search(line, result.error), result.error
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("*.csv"))


GLOBAL = "# @package _global_\n"
PRESETS = {
    "- 1\n": r"preset.yaml: it must be a YAML file of keys",
    "word\n": "experiment: a preset begins with # @package _global_",
    "seed: 3\n": "experiment: a preset begins with # @package _global_",
    f"{GLOBAL}sed: 3\n": r"unknown key sed: did you mean seed\?",
    f"{GLOBAL}recipe: {{epoch: 3}}\n": r"unknown key recipe.epoch: did you mean epochs\?",
    f"{GLOBAL}helper: 3\nhelpers: -3\nseed: ${{helpers}}\n": r"unknown key helper: there is seed, ",
    f"{GLOBAL}seed: 1\nseed: 2\n": r"preset.yaml, line 3: found duplicate key seed",
    f"{GLOBAL}a:\n\t- b\n": r"preset.yaml, line 3: found character",
    f"{GLOBAL}seed: !!python/name:os.system\n": r"preset.yaml, line 2: could not determine a constructor",
    f"{GLOBAL}helper: -3\nseed: ${{helper}}\n": r"seed=-3: needs a whole number from 0 on",  # used, so known
}


@pytest.mark.parametrize("text", PRESETS)
def test_no_line_of_a_preset_is_ignored(run, tmp_path, text):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/preset.yaml").write_text(text)
    result = run("train.py", f"--config-dir={tmp_path}", "experiment=preset", *DIGITS)
    assert result.code == 1 and result.error.strip().count("\n") == 0, result.error
    assert re.search(PRESETS[text], result.error), result.error


def test_classes_of_the_held_out_images_are_those_of_training(run, folder):
    (folder / "val/dog").rename(folder / "val/fox")
    result = run("train.py", "dataset=image_folder", f"dataset.root={folder}", "dataset.size=32", "model=resnet44")
    assert result.code == 1 and re.search(r"image_folder differ in classes \['dog', 'fox'\]$", result.error)


@pytest.mark.parametrize("error", [KeyError("a"), TypeError("a"), RuntimeError("a"), ZeroDivisionError()])
def test_a_mistake_of_our_own_keeps_its_traceback(run, monkeypatch, error):
    def broken(**_):
        raise error

    monkeypatch.setattr(data, "_digit_task", lambda *_: broken())
    for script in ("train.py", "measure.py"):
        result = run(script, *DIGITS, "measure.trained=false")
        assert result.code == 1 and "Traceback" in result.error and "please report it" in result.error
    monkeypatch.undo()
    unknown = run("train.py", *DIGITS, "+dataset.nothing=1")  # but what a user has given is a line
    assert unknown.error.count("\n") == 0 and "argument 'nothing'" in unknown.error


def test_a_network_is_measured_on_the_classes_it_was_trained_on(run, folder, tmp_path):
    words = (f"dataset.root={folder}", "measure.images=4", "measure.blocks=1")
    command = ("dataset=image_folder", "dataset.size=32", "model=cnn7", "recipe.epochs=1", "recipe.batch_size=4")
    assert run("train.py", *command, words[0]).code == 0
    for make in (
        lambda: (folder / "val/dog").rename(folder / "val/fox"),  # other names
        lambda: (folder / "val/cat").rename(folder / "val/zebra"),  # another order
        lambda: shutil.copytree(folder / "val/fox", folder / "val/hen"),  # more
        lambda: [shutil.rmtree(folder / "val" / name) for name in ("fox", "hen")],  # fewer
    ):
        make()
        refused = run("measure.py", *command, *words)
        names = ", ".join(sorted(each.name for each in (folder / "val").iterdir()))
        line = f"was trained on the classes cat, dog, these images are of {names}: name the classes as in training"
        assert refused.code == 1 and line in refused.error and "Traceback" not in refused.error, refused.error
    assert not list(tmp_path.rglob("results.csv"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), r"no trained network in .*: run python train.py .*, or give run=FOLDER .*, or measure.trained=false"),
        (("measure.trained=false", "measure.images=1"), r"measure.images=1: needs a whole number from 2 on"),
        (
            ("measure.trained=false", "measure.similarity=cos"),
            r"similarity=cos: choose pearson, cosine",
        ),
        (("measure.trained=false", "measure.transform.elements=[up]"), r"up; needs numbers \(degrees\)"),
        (
            ("measure=translation", "measure.trained=false", "measure.transform.elements=[28]"),
            r"leaves nothing of images of 28x28",
        ),
    ],
)
def test_measure_refuses_in_one_line(run, tmp_path, arguments, line):
    result = run("measure.py", *DIGITS, *arguments)
    assert result.code == 1 and result.error.strip().count("\n") == 0, result.error
    assert re.search(line, result.error), result.error
    assert not list(tmp_path.rglob("*.csv"))


@pytest.mark.parametrize(
    ("script", "arguments", "line"),
    [
        ("collect.py", (), "Gather the rows of an experiment"),
        ("collect.py", ("symetry",), "^collect.py: unknown experiment symetry: did you mean symmetry[^\n]*$"),
        ("figures.py", ("symetry",), "^figures.py: NAME=symetry: there is no figure of it[^\n]*$"),
        ("figures.py", ("zoo", "nothing"), "^figures.py: FOLDER=nothing: there is no such folder[^\n]*$"),
        ("figures.py", ("a", "b", "c"), "Redraw the figures and tables of all experiments"),
    ],
)
def test_scripts_refuse_in_one_line_or_say_how_they_are_called(monkeypatch, script, arguments, line):
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(REPOSITORY / "scripts" / script), run_name="__main__")
    assert re.search(line, exit.value.code)


def test_measure_refuses_another_networks_checkpoint(run):
    tiny = (*DIGITS, "recipe.epochs=1")
    assert run("train.py", *tiny).code == 0
    wider = run("measure.py", *tiny, "model.width=8")
    assert wider.code == 1 and "model.width=20, this one has model.width=8" in wider.error
    longer = run("measure.py", *DIGITS, "recipe.epochs=1", "recipe.milestones=[7]")
    assert longer.code == 1 and "recipe.milestones=[25, 50], this one has" in longer.error


def test_quarter_turns_of_images_that_are_not_square(run, folder):
    given = ("dataset=image_folder", f"dataset.root={folder}", "model=cnn7", "measure.trained=false")
    result = run("measure.py", *given, "dataset.size=[28,36]")
    assert result.code == 1 and "quarter turns need square images, these are 28x36" in result.error
    assert run("measure.py", *given, "dataset.size=[28,36]", "measure=translation").code == 0


def test_a_failing_job_of_a_sweep_is_named_and_the_others_finish(run, tmp_path):
    arguments = (
        *DIGITS,
        "recipe.epochs=1",
        "hydra.sweep.subdir=${model.width}",
        "run_dir=${runs_dir}/${model.width}",
    )
    result = run("train.py", *arguments, "model.width=-1,4", "-m")
    assert result.code == 1 and "1 failed: " in result.error.strip().splitlines()[-1]
    assert (tmp_path / "runs/4/checkpoint.pt").exists()


def test_image_folder_reads_class_folders(folder):
    pixels, labels, classes = data.image_folder(str(folder), 32, "held_out")
    assert pixels.shape == (8, 3, 32, 32) and labels.tolist() == [0] * 4 + [1] * 4 and classes == ["cat", "dog"]
    exact, _, _ = data.image_folder(str(folder), [40, 60], "train")
    assert torch.equal(exact.decode(), exact[:]) and exact.decode().shape == exact.shape
    first = np.array(Image.open(folder / "train/cat/0.png"))
    np.testing.assert_array_equal(exact[0].permute(1, 2, 0), first)


def test_broken_images_and_empty_folders_are_named(folder):
    broken = folder / "train/dog/2.png"
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"cannot read the image {broken}"):
        data.image_folder(str(folder), 32, "train")[0].decode()
    broken.write_text("not an image")
    with pytest.raises(UserError, match=f"cannot read the image {broken}"):
        data.image_folder(str(folder), 32, "train")[0].decode()
    for file in (folder / "val/dog").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=f"class folder {folder / 'val/dog'} holds no images"):
        data.image_folder(str(folder), 32, "held_out")


def test_cifar_folders_hold_images_of_32_by_32(folder):
    (folder / "train").rename(folder / "test")
    folder.rename(folder.parent / "cifar10")
    with pytest.raises(UserError, match=r"cat/0.png gives .*\(3, 40, 60\); every image must be .*\(3, 32, 32\)"):
        data.cifar10(str(folder.parent), False, "held_out")


@pytest.mark.parametrize("name", ["mnist6", "cifar10"])
def test_missing_data_say_where_they_were_looked_for(run, tmp_path, name):
    given = (f"dataset={name}", "model=cnn7", f"data_dir={tmp_path / 'nowhere'}", "dataset.download=false")
    result = run("train.py", *given)
    assert result.code == 1 and result.error.strip().count("\n") == 0
    for part in (str(tmp_path / "nowhere"), "put it there as", "data_dir=FOLDER", "make quickstart"):
        assert part in result.error


def test_truncated_mnist_is_named(tmp_path):
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + (10000).to_bytes(4, "big") + bytes(10000))
    images = raw / "t10k-images-idx3-ubyte"
    images.write_bytes(b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (10000, 28, 28)) + bytes(999))
    with pytest.raises(UserError, match=f"^{raw}: a file is missing or damaged"):
        data.mnist6(str(tmp_path), "upright", False, "held_out")
    images.write_bytes(b"<html>")
    with pytest.raises(UserError, match=f"^{raw}: a file is missing or damaged"):
        data.mnist6(str(tmp_path), "upright", False, "held_out")


def test_a_network_without_a_live_channel_is_refused(run, tmp_path):
    zeros = {name: torch.zeros_like(value) for name, value in CNN7(1, 6).state_dict().items()}
    torch.save(zeros, tmp_path / "zeros.pt")
    own = ("model=own", "model._target_=equivariance.study.models.CNN7", f"model.weights={tmp_path / 'zeros.pt'}")
    result = run("measure.py", "dataset=digits6", *own, "measure.images=20")
    assert result.code == 1 and "no channel varies over the images, from layer block1 on" in result.error
    assert result.error.count("\n") == 0 and not list(tmp_path.rglob("results.csv"))


def test_a_single_held_out_image_is_refused(run, folder):
    for file in [*(folder / "val/dog").iterdir(), *sorted((folder / "val/cat").iterdir())[1:]]:
        file.unlink()
    (folder / "val/dog").rmdir()
    given = ("dataset=image_folder", f"dataset.root={folder}", "dataset.size=32", "model=cnn7")
    result = run("measure.py", *given, "measure.trained=false")
    assert result.code == 1 and "has one held-out image: needs at least two" in result.error
