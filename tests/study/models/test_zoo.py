"""Many networks in one sweep: by pattern, failures recorded, resumed, in other processes; the leaderboard."""

import runpy
from collections import Counter
from itertools import product

import pandas as pd
import pytest
import timm
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from equivariance import rows
from equivariance.errors import UserError
from equivariance.study import models
from equivariance.study.cli import FAILED
from equivariance.study.cli import jobs as experiments
from equivariance.study.config import CONF
from equivariance.study.data.classes import imagenet_classes
from equivariance.study.identity import measurement_folder, scoring
from equivariance.study.models import library
from experiments.zoo import figure as zoo
from scripts import figures
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture
def photographs(folder):
    """Two classes of ImageNet."""
    for name, synset in zip(("cat", "dog"), imagenet_classes(), strict=False):
        (folder / "val" / name).rename(folder / "val" / synset)
    return f"dataset.root={folder}"


def test_networks_are_chosen_by_pattern_name_and_file(tmp_path):
    assert library.select(["test_vit?", "resnet18"], False) == [*timm.list_models("test_vit?"), "resnet18"]
    (tmp_path / "chosen.txt").write_text("test_vit  # small\n\nresnet18\nno_such\n")
    assert library.select(str(tmp_path / "chosen.txt"), False) == ["test_vit", "resnet18", "no_such"]
    tagged = library.select("resnet18.*", True)
    assert len(tagged) > 3 and all(name.startswith("resnet18.") for name in tagged)
    for wrong, line in (("resnot*", "timm has no such network"), (str(tmp_path / "no.txt"), "No such file")):
        with pytest.raises(UserError, match=line):
            library.select(wrong, False)


def test_families_are_timms_modules():
    assert library.family("vit_base_patch16_224.augreg_in21k_ft_in1k") == "vision_transformer"
    assert library.family("resnet20") == "resnet"


def test_the_preset_is_one_job_a_network():
    jobs = experiments.jobs("zoo", "measure", ("zoo.models=[test_vit,lcnet_0*]",))
    assert [job.model.name for job in jobs] == ["test_vit", *timm.list_models("lcnet_0*")]
    assert not any(job.measure.trained or job.model.pretrained for job in jobs)
    (job,) = experiments.jobs("zoo", "measure", ("zoo.models=test_vit.r160_in1k", "zoo.pretrained=true"))
    assert job.model.name == "test_vit.r160_in1k" and job.measure.trained and job.model.pretrained


def test_tags_are_all_weights_of_six_architectures_each_at_its_own_size():
    given = [f"resnext101_32x8d.{tag}" for tag in ("tv_in1k", "tv2_in1k", "of_a_later_timm")]
    tv, tv2, later = experiments.jobs("tags", "measure", ("measure=rotation", f"zoo.models=[{','.join(given)}]"))
    assert all(job.model.pretrained and job.measure.trained for job in (tv, tv2)) and tv.run_dir != tv2.run_dir
    assert [models.prepare(job.dataset, job.model).size for job in (tv, tv2)] == [224, 176]
    assert tv.model.published.top1 == 79.31 and later.model.published.top1 is None
    models.check_accuracy(later.model, 0, 1000)  # nothing to compare with
    preset = OmegaConf.load(CONF / "experiment/tags.yaml").zoo
    names = library.select(list(preset.models), pretrained=True)
    tags = Counter(name.partition(".")[0] for name in names)
    assert len(tags) == 6 and min(tags.values()) > 2
    published = {f"{network}.{tag}" for network in preset.top1 for tag in preset.top1[network]}
    classified = {name for name in names if timm.get_pretrained_cfg(name).num_classes == 1000}
    assert published <= classified and len(published) > 20


def test_a_tag_is_a_dot_of_its_architecture_for_each_transformation(tmp_path):
    by_architecture = dict(figures.GIVEN["tags"])
    assert by_architecture.pop("of") == "zoo"
    with pytest.raises(UserError, match=r"leaderboard\.py"):
        zoo.figures(tmp_path, **by_architecture)
    pd.DataFrame({"model": ["a.x"], "failed": ["no weights"]}).to_csv(tmp_path / "leaderboard.csv", index=False)
    with pytest.raises(UserError, match="no network with scores and an accuracy"):
        zoo.figures(tmp_path, **by_architecture)
    dots = product(("rotation", "translation"), ("net_a.x", "net_a.y", "net_b.x", "net_b.z", "net_b.unclassified"))
    board = pd.DataFrame(dots, columns=["transform", "model"])
    values = {"equivariance": 0.5, "equivariance_final": 0.6, "trained": True, "images": 50}
    board = board.assign(**values, top1=[0.7, 0.8, 0.75, 0.85, None] * 2)
    board.to_csv(tmp_path / "leaderboard.csv", index=False)
    figure = zoo.figures(tmp_path, **by_architecture)["figure"]
    assert figure.get_suptitle().startswith("4 networks of timm, rotation, translation, 50 images")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["net_a (2)", "net_b (2)"]


def test_networks_with_weights_of_the_library_are_collected_whatever_their_training(tmp_path, monkeypatch):
    """Their rows say nothing of epochs, and no recipe of ours is asked for."""
    given = ("zoo.models=test_vit.r160_in1k", "zoo.pretrained=true", f"runs_dir={tmp_path}")
    (job,) = experiments.jobs("zoo", "measure", given)
    table = rows.read(experiments.FOLDER / "zoo/results.csv")
    table = table[table.model == "test_vit"].assign(model="test_vit.r160_in1k", trained=True, epochs=None)
    rows.write(measurement_folder(job) / "results.csv", table)
    (measurement_folder(job) / "config.yaml").write_text(OmegaConf.to_yaml({"measure": scoring(job)}))
    monkeypatch.setattr(experiments, "FOLDER", tmp_path / "experiments")
    runpy.run_path(str(REPOSITORY / "scripts/collect.py"))["main"]("zoo", *given)
    assert not (tmp_path / "experiments").exists()  # with overrides, the committed rows are not touched
    assert len(rows.read(tmp_path / "zoo/results.csv")) == len(table) > 0


def test_a_slurm_job_has_a_gpu_and_time():
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="measure"):
        cfg = compose("config", ["experiment=zoo", "hydra/launcher=slurm"], return_hydra_config=True)
    launcher = cfg.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher") and launcher.gpus_per_node == 1 and launcher.timeout_min > 60


def test_a_sweep_records_failures_and_resumes(run, tmp_path, photographs, monkeypatch, capsys):
    """The second time one network is found done, and the other one is tried again."""
    given = ["zoo.models=[test_vit,no_such_network]", "measure.images=4", photographs, f"runs_dir={tmp_path}"]

    def times():
        (table,) = tmp_path.glob("imagenet/test_vit/**/results.csv")
        (reason,) = tmp_path.glob(f"imagenet/no_such_network/**/{FAILED}")
        assert "timm has no such classification network" in reason.read_text()
        found = table.stat().st_mtime_ns, reason.stat().st_mtime_ns
        reason.write_text("no\n")
        return found

    assert run("measure.py", "experiment=zoo", *given).code == 0
    first = times()
    assert run("measure.py", "experiment=zoo", *given).code == 0
    again = times()
    assert first[0] == again[0] and first[1] < again[1]
    monkeypatch.setattr(experiments, "FOLDER", tmp_path)
    runpy.run_path(str(REPOSITORY / "scripts/leaderboard.py"))["main"]("zoo", *given)
    assert "1 measurements and 1 failed ones" in capsys.readouterr().out
    board = pd.read_csv(tmp_path / "zoo/leaderboard.csv").set_index("model")
    assert board.equivariance["test_vit"] > board.invariance["test_vit"] > 0
    assert board.top1["test_vit"] in (0, 0.25, 0.5, 0.75, 1) and board.peak_mib["test_vit"] > 100
    failed = board.loc["no_such_network"]
    assert (failed["transform"], failed["failed"]) == ("rotation", "no")


def test_a_job_of_submitit_records_its_failure(run, tmp_path):
    """In a process of its own, which fails before it has loaded any network."""
    given = ["zoo.models=[test_vit]", "hydra/launcher=submitit_local", "hardware.device=cuda:99"]
    done = run("measure.py", "experiment=zoo", *given)
    assert done.code == 1 and "all 1 failed: each job's folder has the reason" in done.error, done.error
    (reason,) = tmp_path.rglob(FAILED)
    assert "hardware.device=cuda:99" in reason.read_text()


def test_a_sweep_in_which_every_network_failed_is_an_error(run, photographs):
    given = ("experiment=zoo", "zoo.models=[no_such_network,nor_this]", photographs)
    result = run("measure.py", *given)
    assert result.code == 1 and "all 2 failed: each job's folder has the reason in failed.txt" in result.error
