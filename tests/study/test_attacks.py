"""Hundreds of bad inputs: each ends with exit code 1 and one line that names the key or the file."""

import importlib
import os
import sys

import pytest

from equivariance.metric.equivariance import Equivariance
from equivariance.study.training.trainer import Training
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

DIGITS = ("dataset=digits6", "model=cnn7")
UNTRAINED = (*DIGITS, "measure.trained=false")

# Of one key after the other, values that it must not have; the line must name the key.
NO_NUMBER = "nan inf -inf abc [1] [] {a:1} null true"
NO_WHOLE = f"{NO_NUMBER} -1 1.5 1e400 10000000000000000000000"
NO_FLAG = "maybe 1.5 [true] null {a:1}"
NO_WORD = "3 [a] null {a:1} nothing -1"
VALUES = {
    "train.py": {
        "seed": f"{NO_WHOLE} x",
        "recipe.epochs": f"{NO_WHOLE} 0",
        "recipe.batch_size": f"{NO_WHOLE} 0 5000",
        "recipe.lr": "nan inf -inf abc [1] null 0 -1 {a:1}",
        "recipe.weight_decay": "nan inf abc [1] null -1 {a:1}",
        "recipe.optimiser": NO_WORD,
        "recipe.schedule": NO_WORD,
        "recipe.milestones": "5 null [a] [5,3] [0] [3,3] [1.5] [-1] abc nan {a:1}",
        "recipe.factor": "nan inf abc [1] null 0 -1",
        "recipe.momentum": "nan inf abc [1] 1 -1 2",
        "recipe.warm_up": "nan inf abc [1] 0 -1",
        "recipe.keep": "5 [a] [-1] [101] [1.5] abc null",
        "hardware.threads": "abc 1.5 0 -1 nan [1] 100000 true",
        "hardware.device": "meta tpu9 3 [cpu] {a:1} cuda:99",
        "hardware.precision": NO_WORD,
        "hardware.compile": NO_FLAG,
        "hardware.graph": f"{NO_FLAG} true",
        "hardware.strict": NO_FLAG,
        "wandb.mode": NO_WORD,
        "dataset.mean": "abc [a] [nan] [0.1,0.2] [] {a:1} [inf]",
        "dataset.std": "abc [a] [nan] [0] [-1] [0.1,0.2] [] {a:1} 0 -1",
        "dataset.task": NO_WORD,
        "dataset.name": "../.. /tmp/x '' [a] null",
        "model.name": "../.. /tmp/x a/../../../../b '' [a] null",
        "model.width": "0 -1 abc null [1] 1.5",
        "model.padding": "-1 abc [a]",
        "model._target_": "nothing nothing.at.all os.getcwd builtins.dict equivariance.study.models.CNN8 null [a]",
        "aug.name": "../.. /tmp/x '' [a] null",
        "run_dir": "'' null [a] 5",
        "runs_dir": "'' null [a] 5",
        "data_dir": "'' null [a] 5",
        "dataset": "null nothing {a:1} [a]",
        "aug": "null nothing {a:1} [a]",
        "model": "null nothing {a:1} [a]",
        "measure": "null nothing {a:1} [a]",
        "recipe": "null nothing {a:1} [a]",
        "experiment": "nothing ../config",
        "hardware": "null fast [a]",
        "wandb": "null fast [a]",
    },
    "measure.py": {
        "measure.images": f"{NO_WHOLE} 0 1",
        "measure.image_seed": NO_WHOLE,
        "measure.batch_size": f"{NO_WHOLE} 0",
        "measure.blocks": f"{NO_WHOLE} 0 100000",
        "measure.similarity": f"{NO_WORD} per_image cos",
        "measure.over": f"{NO_WORD} [] [image,image] [image,nothing] pixels",
        "measure.whole_accuracy": NO_FLAG.replace("null", ""),
        "measure.trained": NO_FLAG,
        "measure.partners": f"{NO_FLAG} abc [a] {{layer:1}} {{channel:1}} {{layer:a,nothing:1}}",
        "measure.dry_run": NO_FLAG,
        "measure.epoch": "-1 1.5 abc nan [1] true",
        "measure.layers": "[] 5 [1] {a:1}",
        "measure.transform": "null rotation [90] 3",
        "measure.transform._target_": "null nothing nothing.at.all [a] builtins.dict",
        "measure.transform.elements": "[] null 90 abc [up] [nan] [inf] [90,90] {a:1} [[90]] [true] [null]",
        "measure.name": "../../x /tmp/x '' [a] null a/../../../../b",
        "measure.nothing": "1",
        "model.weights": "[a] {a:1} nothing.pt 5 '' /",
        "recipe.lr": "nan 0",
    },
}
# Single commands, and what the line must name.
COMMANDS = [
    ("train.py", ("modle=cnn7",), "modle"),
    ("train.py", ("recipe.epochz=3",), "recipe.epochz"),
    ("train.py", (*DIGITS, "+recipe.nesterov=true"), "recipe.nesterov"),
    ("train.py", (*DIGITS, "recipe.optimiser=sgd"), "recipe.momentum"),
    ("train.py", (*DIGITS, "recipe.schedule=one_cycle"), "recipe.warm_up"),
    ("train.py", (*DIGITS, "recipe=one_cycle", "recipe.warm_up=100"), "recipe.warm_up"),
    ("train.py", (*DIGITS, "model=resnet44", "model.depth=43"), "model.depth"),
    ("train.py", (*DIGITS, "model=resnet44", "model.shortcut=C"), "model.shortcut"),
    ("train.py", (*DIGITS, "model=wrn40", "model.width=0"), "model.width"),
    ("train.py", (*DIGITS, "model=wrn40", "model.depth=41"), "model.depth"),
    ("train.py", (*DIGITS, "+model.nothing=3"), "model.nothing"),
    ("train.py", (*DIGITS, "aug=crop", "aug.crop.padding=-1"), "aug.crop.padding"),
    ("train.py", (*DIGITS, "aug=crop", "aug.crop.padding=abc"), "aug.crop.padding"),
    ("train.py", (*DIGITS, "aug=crop", "aug.crop=null"), "aug.crop"),
    ("train.py", (*DIGITS, "aug=crop", "aug.crop=3"), "aug.crop"),
    ("train.py", (*DIGITS, "aug=crop", "aug.crop._target_=nothing.here"), "aug.crop"),
    ("train.py", (*DIGITS, "aug=crop", "+aug.crop.fill=1"), "aug.crop"),
    ("train.py", (*DIGITS, "+aug.mixup.alpha=1"), "aug.mixup"),
    ("train.py", (*DIGITS, "aug=flip", "aug.flip.probability=2"), "aug.flip.probability"),
    ("train.py", (*DIGITS, "aug=flip", "aug.flip.probability=nan"), "aug.flip.probability"),
    ("train.py", (*DIGITS, "aug=cutmix", "aug.cutmix.probability=no"), "aug.cutmix.probability"),
    ("train.py", (*DIGITS, "aug=cutmix", "aug.cutmix.probability=-0.1"), "aug.cutmix.probability"),
    ("train.py", (*DIGITS, "aug=randaugment", "aug.randaugment.magnitude=31"), "aug.randaugment.magnitude"),
    ("train.py", (*DIGITS, "aug=randaugment", "aug.randaugment.operations=0"), "aug.randaugment.operations"),
    ("train.py", (*DIGITS, "aug=randaugment", "aug.randaugment.operations=1.5"), "aug.randaugment.operations"),
    ("train.py", ("dataset=image_folder", "model=cnn7"), "dataset.root"),
    ("train.py", ("dataset=image_folder", "dataset.root=nothing", "model=cnn7"), "nothing/train"),
    ("train.py", ("dataset=mnist6", "model=cnn7", "data_dir=nothing", "dataset.download=false"), "data_dir"),
    (
        "train.py",
        ("dataset=mnist6", "model=cnn7", "data_dir=nothing", "dataset.download=maybe"),
        "dataset.download",
    ),
    ("train.py", ("dataset=cifar10", "data_dir=nothing", "dataset.download=false"), "data_dir"),
    *(
        (
            "train.py",
            ("dataset=image_folder", "dataset.root=nothing", "model=cnn7", f"dataset.size={size}"),
            "dataset.size",
        )
        for size in ("big", "-5", "0", "[1]", "[1,2,3]", "[a,b]", "1.5", "nan", "100000", "{a:1}")
    ),
    ("train.py", (*DIGITS, "model=own"), "model._target_"),
    ("train.py", (*DIGITS, "model=timm"), "model.name"),
    ("train.py", (*DIGITS, "model=timm", "model.name=no_such_network"), "no_such_network"),
    ("train.py", (*DIGITS, "model=torchvision", "model.name=no_such_network"), "no_such_network"),
    ("train.py", (*DIGITS, "model=public", "model.name=no_such_network"), "no_such_network"),
    ("train.py", (*DIGITS, "model=timm", "model.name=test_vit", "model.pretrained=maybe"), "model.pretrained"),
    ("train.py", (*DIGITS, "seed"), "seed"),
    ("train.py", (*DIGITS, "seed="), "seed"),
    ("train.py", (*DIGITS, "seed=${nothing}"), "nothing"),
    ("train.py", (*DIGITS, "seed=[1"), "[1"),
    ("train.py", (*DIGITS, "~recipe.epochs"), "recipe.epochs"),
    ("train.py", (*DIGITS, "~seed"), "seed"),
    ("train.py", (*DIGITS, "~model.name"), "model.name"),
    ("train.py", (*DIGITS, "~dataset.std"), "dataset.std"),
    ("train.py", (*DIGITS, "runs_dir={file}"), "{file}"),
    ("train.py", (*DIGITS, "runs_dir={file}/runs"), "{file}"),
    ("train.py", (*DIGITS, "runs_dir=/proc/nothing"), "/proc/nothing"),
    ("train.py", (*DIGITS, f"runs_dir={{folder}}/{'x' * 300}"), "x" * 300),
    ("train.py", (*DIGITS, f"model.name={'x' * 300}"), "x" * 300),
    ("train.py", (*DIGITS, f"runs_dir={{folder}}{'/x' * 3000}"), "/x" * 30),
    ("train.py", (*DIGITS, "data_dir={file}", "dataset=mnist6", "dataset.download=false"), "{file}"),
    ("train.py", (*DIGITS, "+model.weights={file}"), "model.weights"),
    ("measure.py", DIGITS, "measure.trained=false"),
    ("measure.py", (*DIGITS, "measure.epoch=3"), "no trained network"),
    (
        "measure.py",
        (*UNTRAINED, "measure=translation", "measure.transform.elements=[28]"),
        "measure.transform.elements",
    ),
    (
        "measure.py",
        (*UNTRAINED, "measure=translation", "measure.transform.elements=[0]"),
        "measure.transform.elements",
    ),
    (
        "measure.py",
        (*UNTRAINED, "measure=translation", "measure.transform.elements=[1.5]"),
        "measure.transform.elements",
    ),
    (
        "measure.py",
        (*UNTRAINED, "measure=translation", "measure.transform.elements=[a]"),
        "measure.transform.elements",
    ),
    (
        "measure.py",
        (*UNTRAINED, "measure=translation", "measure.transform.direction=up"),
        "measure.transform.direction",
    ),
    ("measure.py", (*UNTRAINED, "measure=translation", "measure.transform.border=3"), "measure.transform.border"),
    (
        "measure.py",
        (*UNTRAINED, "measure=translation", "measure.transform.rounding=no"),
        "measure.transform.rounding",
    ),
    (
        "measure.py",
        (*UNTRAINED, "measure=dihedral", "measure.transform.elements=[45]"),
        "measure.transform.elements",
    ),
    ("measure.py", (*UNTRAINED, "measure=scale", "measure.transform.elements=[0]"), "measure.transform.elements"),
    ("measure.py", (*UNTRAINED, "measure=scale", "measure.transform.elements=[-1]"), "measure.transform.elements"),
    ("measure.py", (*UNTRAINED, "measure=scale", "measure.transform.elements=[big]"), "measure.transform.elements"),
    (
        "measure.py",
        (*UNTRAINED, "measure=subpixel", "measure.transform.direction=up"),
        "measure.transform.direction",
    ),
    (
        "measure.py",
        (*UNTRAINED, "measure=subpixel", "measure.transform.elements=[100]"),
        "measure.transform.elements",
    ),
    ("measure.py", (*UNTRAINED, "measure=relative_translation"), "measure.transform.size"),
    ("measure.py", (*UNTRAINED, "+measure.transform.border=none"), "measure.transform.border"),
    ("measure.py", (*UNTRAINED, "+measure.transform.nothing=1"), "nothing"),
    ("measure.py", (*UNTRAINED, "measure.transform.element=[90]"), "measure.transform.element"),
    ("measure.py", (*UNTRAINED, "~measure.transform"), "measure.transform"),
    ("measure.py", (*UNTRAINED, "~measure.blocks"), "measure.blocks"),
    (
        "measure.py",
        (*DIGITS, "model=own", "model._target_=equivariance.study.models.CNN7", "model.weights={file}"),
        "{file}",
    ),
    (
        "measure.py",
        (*DIGITS, "model=own", "model._target_=equivariance.study.models.CNN7", "model.weights={folder}"),
        "{folder}",
    ),
    (
        "measure.py",
        (*DIGITS, "model=own", "model._target_=equivariance.study.models.CNN7", "model.weights={empty}"),
        "{empty}",
    ),
    (
        "measure.py",
        (*DIGITS, "model=own", "model._target_=equivariance.study.models.CNN7", "model.weights=no.pt"),
        "no.pt",
    ),
    ("measure.py", (*UNTRAINED, "measure.transform._target_=os.getcwd"), "measure.transform"),
    ("measure.py", (*UNTRAINED, "measure.layers=nothing*"), "nothing*"),
    ("measure.py", (*UNTRAINED, "runs_dir={file}"), "{file}"),
    ("measure.py", (*UNTRAINED, f"measure.name={'x' * 300}"), "x" * 300),
]
ATTACKS = COMMANDS + [
    (script, (*(DIGITS if script == "train.py" else UNTRAINED), f"{key}={value}"), key)
    for script, keys in VALUES.items()
    for key, values in keys.items()
    for value in dict.fromkeys(values.split())
]


PARTS = 8  # of the list, for as many processes


def accepted(*_):
    raise AssertionError("accepted")


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.usefixtures("composed_once")
def test_every_bad_input_is_one_line_that_names_it(part, monkeypatch, tmp_path, capsys):
    places = {name: str(tmp_path / name) for name in ("file", "folder", "empty")}
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(REPOSITORY))
    monkeypatch.setattr(Training, "take", accepted)
    monkeypatch.setattr(Equivariance, "update", accepted)
    wrong = []
    for script, arguments, named in ATTACKS[part::PARTS]:
        elsewhere = any("runs_dir=" in argument for argument in arguments)
        runs = () if elsewhere else (f"runs_dir={tmp_path / 'runs'}",)
        arguments = [fill(argument, places) for argument in (*runs, *arguments)]
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        code, line = 0, ""
        try:
            importlib.import_module(script.removesuffix(".py")).main()
        except SystemExit as exit:
            code, line = (1, exit.code) if isinstance(exit.code, str) else (exit.code, "")
        except BaseException as error:
            code, line = -1, repr(error)
        finally:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        out = capsys.readouterr()
        right = code == 1 and line.startswith(f"{script}: ") and "\n" not in line and fill(named, places) in line
        if not right or "Traceback" in out.err:
            wrong.append(f"{script} {' '.join(arguments[-2:])[:200]}: exit code {code}, {line[:300]!r}")
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong)
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("*.csv"))


def fill(text, places):
    for name, place in places.items():
        text = text.replace(f"{{{name}}}", place)
    return text
