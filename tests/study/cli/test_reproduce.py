"""The plan of a reproduction: what is done, what is missing, what the rest costs; no stage is repeated."""

import os
import struct
from itertools import chain, product

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from equivariance.study.cli.jobs import each_job, jobs
from equivariance.study.config import CONF
from equivariance.study.data import datasets
from equivariance.study.data.classes import CIFAR10
from equivariance.study.identity import measurement_folder
from equivariance.study.runs.folder import CHECKPOINT, Run
from equivariance.study.verdicts.rules import described
from scripts import reproduce, small_data
from scripts.reproduce import Stage

pytestmark = pytest.mark.slow


def done(stages):
    """The stages of an experiment that are done, by their scripts."""
    return [stage.command[0] for stage in stages if stage.done()]


def test_stages_follow_what_is_there(tmp_path):
    given = (f"runs_dir={tmp_path}", "recipe.epochs=10")
    plan = reproduce.planned("quickstart", given)
    stages = reproduce.stages(plan, 1)
    (folder,), (results,) = plan.networks, plan.results
    assert plan.networks[folder] == 10 and plan.rows == tmp_path / "quickstart/results.csv" and not plan.missing
    scripts = ["train.py", "measure.py", "scripts/collect.py", "scripts/figures.py", "scripts/claims.py"]
    assert [stage.command[0] for stage in stages] == scripts
    assert stages.pop().done()  # verdicts are of the presets' own size

    run = Run(folder)
    state = dict.fromkeys(CHECKPOINT) | {"config": {}, "step": 0}
    folder.mkdir(parents=True)
    run.save(state | {"epoch": 9, "history": [{}] * 9})
    (folder / "metrics.csv").write_text("epoch\n" + "1\n" * 10)  # a training killed before its checkpoint: no epoch
    assert done(stages) == []
    run.save(state | {"epoch": 10, "history": [{}] * 10})
    assert done(stages) == ["train.py"]
    for second, file in enumerate([results, plan.rows, plan.rows.with_name("figure.png")]):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.utime(file, (second, second))
        assert len(done(stages)) == 2 + second
    os.utime(results, (9, 9))  # measured again
    assert done(stages) == ["train.py", "measure.py", "scripts/figures.py"]


def test_stages_that_are_done_are_not_run_and_a_failure_ends_them(tmp_path, capfd):
    script = tmp_path / "say.py"
    script.write_text("import sys; print('ran', sys.argv[1]); sys.exit(int(sys.argv[1]))")
    one, failing = (Stage((str(script), code), lambda: False) for code in "01")
    assert reproduce.run([Stage(one.command, lambda: True)]) and "ran" not in capfd.readouterr().out
    assert reproduce.run([one, one]) and capfd.readouterr().out.count("ran 0") == 2
    assert not reproduce.run([failing, one]) and "ran 0" not in capfd.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        reproduce.run([Stage((str(script), "130"), lambda: False)])
    assert stopped.value.code == 130


def test_costs_are_those_of_what_is_left_and_shared_networks_count_once(tmp_path, monkeypatch):
    costs = {"train": [(60, 120)] * 3, "measure": [(0, 60)] * 3}
    monkeypatch.setitem(reproduce.STUDY["minutes"], "quickstart", costs)
    given = (f"runs_dir={tmp_path}",)
    plan = reproduce.planned("quickstart", given)  # 1 network of 1 to 2 hours, 1 measurement of 0 to 1
    first, second, total = reproduce.table([plan, plan]).splitlines()[1:4]
    assert first.count("1 - 3") == 3 == total.count("1 - 3") and second.count("0 - 0") == 3
    (job,) = jobs("quickstart", "measure", given)
    (measurement_folder(job)).mkdir(parents=True)
    (measurement_folder(job) / "results.csv").touch()
    line = reproduce.table([plan]).splitlines()[1]
    assert line.count("1 - 2") == 3 and "0 of 1" in line and "1 of 1" in line


def test_every_experiment_has_costs_of_each_device():
    for name in chain(*reproduce.STUDY["sizes"].values()):
        assert (CONF / f"experiment/{name}.yaml").exists()
        for spans in reproduce.STUDY["minutes"][name].values():
            assert len(spans) == len(reproduce.STUDY["devices"]) and all(0 < low < high for low, high in spans)


def test_what_is_missing_is_named_and_what_is_downloaded_is_said_once(tmp_path):
    given = f"runs_dir={tmp_path}", f"data_dir={tmp_path}", "measure=rotation"
    names = ["similarity", "public_similarity", "architectures"]
    plans = [reproduce.planned(name, given) for name in names]
    assert [bool(plan.missing) for plan in plans] == [False, True, True]
    text = reproduce.table([*plans[:1], *plans])
    assert text.count("will be downloaded") == 1 == text.count("will be downloaded: CIFAR-10")
    assert "architectures is left out: no ImageNet" in text and str(tmp_path / "imagenet") in text
    for folder in ("cifar10", "imagenet/val"):
        (tmp_path / folder).mkdir(parents=True)
    assert not reproduce.planned("similarity", given).lacking
    weights = reproduce.planned("architectures", given)
    assert len(weights.lacking) == 6 and not weights.missing  # which their libraries download
    assert not reproduce.planned("architectures", (*given, "measure.trained=false")).lacking


def test_jobs_are_what_hydra_composes():
    """Against one composition a job, by Hydra alone: groups that bring a recipe, values, a sweep of one's own."""
    own = ("recipe.epochs=3", "measure.epoch=0,3", "seed=1", "aug=none,cutmix")
    wanted = []
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="measure"):
        for aug, measure, epoch in product(("none", "cutmix"), ("translation16", "rotation"), (0, 3)):
            words = ["recipe.epochs=3", "seed=1", f"aug={aug}", f"measure={measure}", f"measure.epoch={epoch}"]
            composed = compose("config", ["experiment=augmentation_reduced", *words])
            wanted.append(OmegaConf.to_container(composed))
    found = [OmegaConf.to_container(cfg) for cfg in jobs("augmentation_reduced", "measure", own)]
    assert found == wanted


def test_what_decides_claims_is_reproduced():
    for about in described().values():
        for kind, entries in about["evidence"].items():
            named = {
                *chain(*(np.atleast_1d(entry["rows"]).tolist() for entry in entries if entry.get("by") != "others"))
            }
            there = {*chain(*reproduce.STUDY["sizes"].values())}
            assert named <= there, f"{kind}: {named - there}"


def test_tiny_experiments_have_folders_and_data_of_their_own(tmp_path):
    given = (f"runs_dir={tmp_path}/runs", f"data_dir={tmp_path}", "weights_dir=/there")
    overrides = reproduce.overrides_of("augmentation_reduced", given, True)
    assert not any(word.startswith("weights_dir=") for word in overrides)
    plan = reproduce.planned("augmentation_reduced", (*overrides, "aug=none,crop"))
    assert plan.rows == tmp_path / "runs/tiny/augmentation_reduced/results.csv"
    assert len(plan.networks) == 2 and {*plan.networks.values()} == {2} and len(plan.results) == 8
    assert all(file.is_relative_to(tmp_path / "runs/tiny") and "images20" in str(file) for file in plan.results)
    train, measure = (stage.command for stage in reproduce.stages(plan, 1)[:2])
    assert "measure.images=20" in measure and not any(word.startswith("measure.") for word in train)
    assert "weights_dir=/there" in reproduce.overrides_of("public_cifar", given, False)


def test_few_images_load_as_the_data_sets_do(tmp_path):
    draw = np.random.default_rng(0)
    source, target = tmp_path / "data", tmp_path / "runs/tiny/data"
    (source / "imagenet").mkdir(parents=True)
    raw = source / "MNIST/raw"
    raw.mkdir(parents=True)
    for cifar, mnist in (("train", "train"), ("test", "t10k")):
        for name in CIFAR10:
            (source / "cifar10" / cifar / name).mkdir(parents=True)
            for index in range(6):
                image = Image.fromarray(draw.integers(256, size=(32, 32, 3), dtype=np.uint8))
                image.save(source / "cifar10" / cifar / name / f"{index}.png")
        pixels, digits = draw.integers(256, size=(100, 28, 28), dtype=np.uint8), bytes([*range(10)] * 10)
        (raw / f"{mnist}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, 100, 28, 28) + pixels.tobytes())
        (raw / f"{mnist}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, 100) + digits)
    small_data.main(str(target), str(source))
    for load, given in ((datasets.cifar10, (False,)), (datasets.mnist6, ("upright", False))):
        for split in datasets.SPLITS:
            pixels, labels, classes = load(str(target), *given, split)
            all_pixels, all_labels, all_classes = load(str(source), *given, split)
            assert (
                len(pixels) == small_data.IMAGES and classes == all_classes and len(labels.unique()) == len(classes)
            )
            places = (pixels[:, None] == all_pixels).flatten(2).all(2).nonzero()[:, 1]
            assert (all_labels[places] == labels).all()
    assert (target / "imagenet").is_dir()


@pytest.mark.parametrize("preset", sorted(path.stem for path in CONF.glob("experiment/*_reduced.yaml")))
def test_presets_of_reduced_studies_compose_with_their_sweeps(preset):
    assert next(each_job(preset, "measure")).measure.images > 0


def test_training_sweeps_over_nothing_of_the_measure():
    first = {entrypoint: next(each_job("dynamics_reduced", entrypoint)) for entrypoint in ("train", "measure")}
    assert first["train"].measure.epoch is None and first["measure"].measure.epoch is not None
