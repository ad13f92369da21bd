"""From training to rows: the quick start's path, the columns, collecting, figures."""

import os
import runpy
import shutil
import socket
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from omegaconf import OmegaConf
from safetensors.torch import load_file

from equivariance import rows
from equivariance.errors import UserError
from equivariance.figures import depth, style
from equivariance.files import write_atomic
from equivariance.study import cli
from equivariance.study.cli import jobs as experiments
from equivariance.study.cli.sweeps import comparison
from equivariance.study.config import CONF
from equivariance.study.figures import save
from equivariance.study.identity import scoring
from equivariance.study.models import CNN7
from equivariance.study.models.weights import digest, load
from equivariance.study.report import _beside_twin
from tests.commands import command
from tests.conftest import REPOSITORY, SEVEN_LAYERS

pytestmark = pytest.mark.slow

TINY = ("dataset=digits6", "model=cnn7", "model.width=4", "recipe.epochs=1")
SMALL = ("measure.images=50", "measure.blocks=3")


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A tiny network, trained and measured."""
    runs = tmp_path_factory.mktemp("once") / "runs"
    assert command(runs, "train.py", *TINY).code == 0
    result = command(runs, "measure.py", *TINY, *SMALL, "measure.name=rotation", "measure.batch_size=20")
    assert result.code == 0, result.error
    return runs, result.out


@pytest.fixture
def measured(once, tmp_path):
    """The folder of a copy of it, and what was printed."""
    shutil.copytree(once[0], tmp_path / "runs")
    return tmp_path / "runs/digits6/cnn7/none/seed0/measure/rotation", once[1]


def test_measure_writes_rows_a_figure_and_the_images(measured):
    folder, out = measured
    table = rows.read(folder / "results.csv")
    assert list(table) == rows.COLUMNS and len(table) == 9 * 3 * 2
    assert table[["value", "chance"]].stack().between(0, 1).all()
    assert (table.images == 50).all() and (table.epochs == 1).all() and table.trained.all()
    wide = table.pivot(index=["index", "element"], columns="score", values="value")
    assert (wide.equivariance >= wide.invariance).all()
    chosen = pd.read_csv(folder / "images.csv")["index"]
    assert len(chosen) == chosen.nunique() == 50 and chosen.max() < 271
    assert (folder / "depth.png").stat().st_size > 5000
    assert "block1  early" in out and "seed0/measure/rotation" in out


def test_measuring_again_skips_and_another_setting_is_refused(run, measured):
    folder, _ = measured
    before = (folder / "results.csv").read_bytes()
    again = run("measure.py", *TINY, *SMALL, "measure.name=rotation", "measure.batch_size=33")
    assert again.code == 0 and "is complete" in again.out and "block1  early" in again.out
    other = run("measure.py", *TINY, *SMALL, "measure.images=60", "measure.name=rotation")
    assert other.code == 1 and "measure.images=50, this one has measure.images=60" in other.error
    assert (folder / "results.csv").read_bytes() == before


def test_batch_size_does_not_change_the_rows(run, measured, tmp_path):
    folder, _ = measured
    assert run("measure.py", *TINY, *SMALL, "measure.batch_size=50", "measure.name=whole").code == 0
    a, b = (rows.read(folder.parent / name / "results.csv") for name in ("rotation", "whole"))
    np.testing.assert_allclose(a[["value", "chance"]], b[["value", "chance"]], atol=SEVEN_LAYERS)


def test_untrained_is_the_network_at_the_start_of_training(run, tmp_path):
    torch.manual_seed(3)
    model = CNN7(1, 6, width=4)
    result = run("measure.py", *TINY, *SMALL, "measure.name=rotation", "measure.trained=false", "seed=3")
    assert result.code == 0, result.error
    folder = tmp_path / "runs/digits6/cnn7/none/seed3/measure/rotation-untrained"
    assert f"weights: {digest(model)}" in (folder / "config.yaml").read_text().replace("'", "")
    table = rows.read(folder / "results.csv")
    assert not table.trained.any() and (table.epochs == 0).all()


def test_collect_takes_the_size_of_images_that_the_network_knows(tmp_path):
    refuse = runpy.run_path(str(REPOSITORY / "scripts/collect.py"))["refuse_others"]
    given = ("measure=relative_translation", "measure.trained=false", f"runs_dir={tmp_path}", "weights_dir=none")
    cfg = next(iter(experiments.jobs("public_imagenet", "measure", given)))
    made = OmegaConf.create({"measure": scoring(cfg)})
    made.measure.transform.size = 224  # as it is written when the network is known
    OmegaConf.save(made, tmp_path / "config.yaml")
    refuse("public_imagenet", cfg, tmp_path)
    made.measure.transform.elements = ["1/2"]
    OmegaConf.save(made, tmp_path / "config.yaml")
    with pytest.raises(UserError, match="elements"):
        refuse("public_imagenet", cfg, tmp_path)


def test_collect_wants_every_job_at_full_size(run, monkeypatch, tmp_path):
    """A made-up experiment of two seeds: collected only when both are measured, at the preset's own epochs."""
    preset = CONF / "experiment/quickstart.yaml"
    grid = preset.read_text().replace("epochs: 15", "epochs: 1") + "\nmodel:\n  width: 4"
    grid += "\nmeasure:\n  images: 20\n  blocks: 1\nhydra:\n  sweeper:\n    params:\n      seed: 0,1\n"
    monkeypatch.setattr(experiments, "CONF", tmp_path / "conf")

    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "conf/experiment/pair.yaml").write_text(grid)
    monkeypatch.setattr(experiments, "FOLDER", tmp_path / "experiments")
    collect = runpy.run_path(str(REPOSITORY / "scripts/collect.py"))["main"]
    overrides, few = f"runs_dir={tmp_path / 'runs'}", ("measure.images=20", "measure.blocks=1")
    for seed in (0, 1):
        common = (*TINY, "recipe.milestones=[8,12]", f"seed={seed}")
        assert run("train.py", *common).code == 0
        if seed:
            with pytest.raises(Exception, match="1 of 2 measurements are missing"):
                collect("pair", overrides)
        assert run("measure.py", *common, *few, "measure.name=rotation").code == 0
    collect("pair", overrides)
    table = rows.read(tmp_path / "experiments/pair/results.csv")
    assert set(table.seed) == {0, 1} and set(table.experiment) == {"pair"}
    shutil.rmtree(tmp_path / "runs/digits6/cnn7/none/seed0")
    collect("pair", overrides, "--partial")  # seed 0 was measured elsewhere: its rows stay
    assert rows.read(tmp_path / "experiments/pair/results.csv").equals(table)
    with pytest.raises(Exception, match=r"has recipe\.epochs=1, experiment pair needs 2"):
        collect("pair", overrides, "recipe.epochs=2")


def test_what_is_kept_is_what_is_measured(run, tmp_path):
    """The kept file is half as long a number each, is named by the digest that the measurement has, and loads."""
    keep = runpy.run_path(str(REPOSITORY / "scripts/keep_weights.py"))["main"]
    given = ("dataset=digits6", "recipe.epochs=1", f"runs_dir={tmp_path / 'runs'}", "model.width=4")
    assert run("train.py", *given, "model=cnn7").code == 0
    keep("quickstart", *given, folder=tmp_path / "kept")
    (file,) = (tmp_path / "kept").glob("*.safetensors")
    assert pd.read_csv(tmp_path / "kept/weights.csv").file.tolist() == [file.name]
    assert run("measure.py", *given, "model=cnn7", "measure.images=20", "measure.name=rotation").code == 0
    (config,) = (tmp_path / "runs/digits6/cnn7/none/seed0/measure").glob("*/config.yaml")
    assert f"weights: {file.stem}" in config.read_text().replace("'", "")
    model = CNN7(1, 6, width=4)
    load(model, file)
    assert digest(model) == file.stem and load_file(file)["final.weight"].dtype == torch.float16


def test_the_same_rows_draw_the_same_bytes(measured, tmp_path):
    folder, _ = measured
    table = rows.read(folder / "results.csv")
    for name in ("a", "b"):
        save(depth.plot_depth(table, title="title").figure, tmp_path / name, ("png", "svg"))
    for ending in ("png", "svg"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_a_full_disk_keeps_the_previous_file(monkeypatch, tmp_path):
    target = tmp_path / "rows.csv"
    write_atomic(target, "before")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*rows.csv: No space left on device"):
        write_atomic(target, "after")
    assert target.read_text() == "before" and list(tmp_path.iterdir()) == [target]


def test_an_interrupted_measurement_goes_on_to_the_same_rows(run, measured, tmp_path, monkeypatch):
    """Stop after the first batches of a measurement, as Ctrl-C does; the same command finishes it."""
    folder, _ = measured
    given = (*TINY, *SMALL, "measure.batch_size=10", "measure.name=again")

    class After:
        exit_code, calls = 130, 0

        def __bool__(self):
            self.calls += 1
            return self.calls >= 4

    with monkeypatch.context() as patch:
        patch.setattr(cli, "stoppable", lambda: nullcontext(After()))
        stopped = run("measure.py", *given)
    assert stopped.code == 130 and "goes on from there" in stopped.out
    assert not (folder.parent / "again/results.csv").exists()
    finished = run("measure.py", *given)
    assert finished.code == 0 and "going on after 40 images" in finished.out, finished.out + finished.error
    a, b = (rows.read(folder.parent / name / "results.csv") for name in ("rotation", "again"))
    scores = ["value", "chance", "low", "high", "activation"]
    np.testing.assert_allclose(a[scores], b[scores], atol=SEVEN_LAYERS)
    assert not list((folder.parent / "again").glob(".statistics*"))


SECOND = """
import sys
import torch.distributed
import measure
join = torch.distributed.init_process_group
def joining(backend):
    print("joining", flush=True)
    join(backend)
torch.distributed.init_process_group = joining
measure.main()
assert not {"torch._dynamo", "torchvision", "timm", "wandb"} & {*sys.modules}  # which take seconds
"""


def test_several_processes_give_the_same_rows(run, measured, tmp_path, monkeypatch):
    """This one and another, told of each other by the variables that torchrun sets."""
    folder, _ = measured
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
    given = [*TINY, *SMALL, "measure.name=shared", f"runs_dir={tmp_path / 'runs'}", "wandb.mode=disabled"]
    given += [f"hardware.threads={os.environ['OMP_NUM_THREADS']}"]
    words, pipes = [sys.executable, "-c", SECOND, *given], {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    second = os.environ | shared | {"RANK": "1", "LOCAL_RANK": "1"}
    with subprocess.Popen(words, cwd=REPOSITORY, env=second, text=True, **pipes) as process:
        while (line := process.stdout.readline()) != "joining\n":  # or the first would wait for it in vain
            assert line, process.stderr.read()
        for name, value in (shared | {"RANK": "0", "LOCAL_RANK": "0"}).items():
            monkeypatch.setenv(name, value)
        first = run("measure.py", *given)
        _, error = process.communicate(timeout=120)
    assert first.code == process.returncode == 0, first.error + error
    a, b = (rows.read(folder.parent / name / "results.csv") for name in ("rotation", "shared"))
    scores = ["value", "chance", "low", "high", "activation"]
    np.testing.assert_allclose(a[scores], b[scores], atol=SEVEN_LAYERS)


SWEPT = ("measure.trained=false", "measure.images=4", "measure.blocks=1", "measure.name=rotation", "-m")


def test_a_sweep_says_how_its_measurements_are_compared(run, tmp_path):
    swept = run("measure.py", *TINY, *SWEPT, "seed=0,1")
    assert swept.code == 0
    folder = tmp_path / "runs/digits6/cnn7/none"
    written = [folder / f"seed{seed}/measure/rotation-untrained" for seed in (0, 1)]
    assert all((each / "results.csv").exists() for each in written)
    last = swept.out.splitlines()[-1]
    assert last == f"to compare them: python scripts/compare.py {folder}"
    (folder / "seed2").mkdir()
    (folder / "seed2/results.csv").write_text("another\n")
    assert comparison(written) == f"python scripts/compare.py {written[0]} {written[1]}"


def test_a_job_runs_in_a_process_of_joblib(run, tmp_path):
    """The entrypoints travel there, and write what they would here. Several jobs, and trainings: test_signals."""
    done = run("measure.py", *TINY, *SWEPT, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    get_reusable_executor().shutdown(kill_workers=True)  # they would wait for more
    assert done.code == 0, done.error
    assert (tmp_path / "runs/digits6/cnn7/none/seed0/measure/rotation-untrained/results.csv").exists()


def test_depth_has_the_untrained_twin_where_it_was_measured(tmp_path):
    table = rows.of_first_over(rows.read(REPOSITORY / "experiments/controlled/results.csv"))
    one = table[table.model == table.model.iloc[0]].assign(trained=False, epoch=0)
    (tmp_path / "rotation-untrained").mkdir()
    rows.write(tmp_path / "rotation-untrained/results.csv", one)
    for folder, trained, expected in (("rotation", True, True), ("rotation", False, False), ("other", True, False)):
        job = SimpleNamespace(folder=tmp_path / folder, about={"trained": trained})
        found = _beside_twin(job, one.assign(trained=trained, epoch=1, epochs=1))
        axes = depth.plot_depth(found)
        assert ("untrained" in axes.get_legend_handles_labels()[1]) == expected
        style.plt.close(axes.figure)
