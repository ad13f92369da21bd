"""Training: the recipe, exact repetition, exact resumption, and runs that are never lost."""

import copy
import hashlib
import itertools
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace

import joblib
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from equivariance import rows
from equivariance.errors import UserError
from equivariance.metric.equivariance import Equivariance
from equivariance.statistics.image_blocks import Blocks
from equivariance.study.cli import sweeps
from equivariance.study.cli.messages import check
from equivariance.study.config import Recipe
from equivariance.study.data import augmentation
from equivariance.study.data import datasets as data
from equivariance.study.data.augmentation import Augmentation, Crop, CutMix, RandAugment
from equivariance.study.identity import measurement_folder
from equivariance.study.models import CNN7, prepare
from equivariance.study.runs.folder import Run, comparable
from equivariance.study.training import trainer as training
from equivariance.study.training.hardware import Hardware
from equivariance.study.training.recipe import check_recipe, learning_rate, optimiser
from equivariance.study.training.trainer import Training
from tests.commands import command
from tests.conftest import REPOSITORY
from tests.study.test_config import config
from train import step as train_step

pytestmark = pytest.mark.slow

TINY = ("dataset=digits6", "model=cnn7", "model.width=4", "recipe.epochs=2", "recipe.milestones=[1]")
WIDE = (*TINY, "model.width=20")  # learns something in two epochs


def weights(folder):
    return torch.load(folder / "digits6/cnn7/none/seed0/checkpoint.pt", weights_only=True)["model"]


def equal(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


def test_learning_rate_falls_at_the_milestones():
    recipe = OmegaConf.load(REPOSITORY / "conf/recipe/table1.yaml")
    rates = [learning_rate(recipe, epoch) for epoch in (0, 24, 25, 49, 50, 99)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4])


def test_training_learns_and_is_repeatable_bit_for_bit(run, tmp_path):
    for name in ("a", "b"):
        assert run("train.py", *WIDE, f"runs_dir={tmp_path / name}").code == 0
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    metrics = pd.read_csv(tmp_path / "a/digits6/cnn7/none/seed0/metrics.csv")
    assert list(metrics.epoch) == [1, 2] and list(metrics.lr) == pytest.approx([0.01, 0.001])
    assert metrics.train_loss[1] < metrics.train_loss[0] and metrics.train_accuracy[1] > 0.8


def test_complete_runs_are_skipped_and_others_refused(run, tmp_path):
    assert run("train.py", *TINY).code == 0
    before = weights(tmp_path / "runs")
    again = run("train.py", *TINY)
    assert again.code == 0 and "is complete: 2 epochs" in again.out
    other = run("train.py", *TINY, "recipe.lr=0.02")
    assert other.code == 1 and "recipe.lr=0.01, this one has recipe.lr=0.02" in other.error
    assert equal(before, weights(tmp_path / "runs"))
    assert run("train.py", *TINY, "seed=1", f"run_dir={tmp_path}/other/digits6/cnn7/none/seed0").code == 0
    assert not equal(before, weights(tmp_path / "other"))


def test_a_corrupt_checkpoint_is_named_and_kept(run, tmp_path):
    assert run("train.py", *TINY).code == 0
    checkpoint = tmp_path / "runs/digits6/cnn7/none/seed0/checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    for script in ("train.py", "measure.py"):
        result = run(script, *TINY)
        assert result.code == 1 and result.error.strip().count("\n") == 0
        assert f"{checkpoint} is damaged" in result.error
    assert checkpoint.stat().st_size == 5000
    checkpoint.write_text("bad")  # on which PyTorch's unpickler stumbles in its own way
    assert f"{checkpoint} is damaged" in run("train.py", *TINY).error


THREE = ("recipe.epochs=3", "recipe.milestones=[2]")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The runs of a training that nothing interrupts."""
    runs = tmp_path_factory.mktemp("whole")
    assert command(runs, "train.py", *TINY, *THREE).code == 0
    return runs


STOPPED = """
import os, sys
from equivariance.study.training.trainer import Training
take, steps = Training.take, iter(range(100))
def stopped(self, *given):
    take(self, *given)
    if next(steps) == 10:  # an epoch has 6
        os.kill(os.getpid(), {number:d})
Training.take = stopped
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_interrupted_runs_end_with_the_weights_of_uninterrupted_ones(
    run, whole, tmp_path, monkeypatch, number, code
):
    """Within the second epoch; a kill, which nothing survives, in a process of its own."""
    broken = tmp_path / "broken"
    if number == signal.SIGKILL:
        words = [
            sys.executable,
            "-c",
            f"{STOPPED.format(number=number)}import train; train.main()",
            *TINY,
            *THREE,
        ]
        threads = f"hardware.threads={os.environ['OMP_NUM_THREADS']}"  # as `run` has: others add in another order
        words += [f"runs_dir={broken}", "wandb.mode=disabled", threads]
        assert subprocess.run(words, cwd=REPOSITORY).returncode == code
    else:
        monkeypatch.setattr(Training, "take", Training.take)  # so that it is as before after the test
        exec(STOPPED.format(number=number), {})
        assert run("train.py", *TINY, *THREE, f"runs_dir={broken}").code == code
        monkeypatch.undo()
    checkpoint = broken / "digits6/cnn7/none/seed0/checkpoint.pt"
    assert torch.load(checkpoint, weights_only=True)["epoch"] == 1
    assert not list(checkpoint.parent.glob(".checkpoint*"))
    again = run("train.py", *TINY, *THREE, f"runs_dir={broken}")
    assert again.code == 0 and "resuming" in again.out
    assert equal(weights(whole), weights(broken))
    columns = ["epoch", "train_loss", "train_accuracy", "loss", "accuracy"]
    expected = pd.read_csv(whole / "digits6/cnn7/none/seed0/metrics.csv")
    resumed = pd.read_csv(checkpoint.with_name("metrics.csv"))
    pd.testing.assert_frame_equal(resumed[columns], expected[columns])


HOLDING = """
import sys
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_in_the_same_folder_stops(run, tmp_path):
    folder = tmp_path / "runs/digits6/cnn7/none/seed0"
    folder.mkdir(parents=True)
    first = [sys.executable, "-c", HOLDING, str(folder / ".lock")]
    with subprocess.Popen(first, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        second = run("train.py", *TINY)
        assert second.code == 1 and "in use by another process" in second.error
    assert run("train.py", *TINY).code == 0


def test_a_loss_that_is_no_number_stops_the_run(run):
    result = run("train.py", *TINY, "recipe.optimiser=sgd", "recipe.momentum=0.9", "recipe.lr=1e30")
    assert result.code == 1 and "the loss is nan in epoch 1" in result.error and "recipe.lr" in result.error


def test_an_exploded_loss_stops_the_run_and_the_last_good_epoch_stays(run, tmp_path, monkeypatch):
    """The same command again ends in the same way."""
    rate = training.learning_rate
    monkeypatch.setattr(training, "learning_rate", lambda recipe, epoch: 1e6 if epoch >= 1 else rate(recipe, epoch))
    for _ in range(2):
        result = run("train.py", *TINY, "recipe.optimiser=sgd", "recipe.momentum=0.9")
        assert result.code == 1 and "in epoch 2" in result.error and "epoch 1 is kept" in result.error
        saved = torch.load(tmp_path / "runs/digits6/cnn7/none/seed0/checkpoint.pt", weights_only=True)
        assert saved["epoch"] == 1 and all(value.isfinite().all() for value in saved["model"].values())


def test_failing_jobs_are_named_and_the_others_finish(run, tmp_path, monkeypatch):
    take = Training.take
    errors = {
        "seed0": torch.OutOfMemoryError("CUDA out of memory"),
        "seed1": ZeroDivisionError("a mistake of ours"),
    }

    def failing(self, step, images, labels):
        if error := errors.get(f"seed{self.generator.initial_seed()}"):
            raise error
        take(self, step, images, labels)

    monkeypatch.setattr(Training, "take", failing)
    result = run("train.py", "hydra.mode=MULTIRUN", "seed=0,1,2", *TINY, "recipe.epochs=1")
    folder = tmp_path / "runs/digits6/cnn7/none"
    assert result.code == 1 and result.error.endswith(f"2 failed: {folder}/seed0; {folder}/seed1")
    assert "out of memory: give a lower recipe.batch_size than 128" in result.error
    assert "ZeroDivisionError('a mistake of ours')" in result.error and "Traceback" in result.error
    assert pd.read_csv(folder / "seed2/metrics.csv").epoch.tolist() == [1]


def start_training(augment, seed=0, recipe=(), hardware=None):
    """A narrow CNN-7 on images of digits6 with 12 steps in an epoch, and these images."""
    cfg = config("dataset=digits6", "model=cnn7", "recipe.batch_size=16", *recipe)
    hardware = hardware or Hardware("cpu", "float32", threads=1)
    torch.manual_seed(seed)
    model = hardware.place(CNN7(1, 6, width=4))
    images = data.load(prepare(cfg.dataset, cfg.model), "train").to(hardware.device)
    images = replace(images, pixels=images.pixels[:200], labels=images.labels[:200])
    return Training(model, cfg.recipe, hardware, seed, augment), images


def train_until(run, images, epoch, step=0):
    """Go on to a step of an epoch, as train.py does."""
    while (run.epoch, run.step) != (epoch, step):
        for batch, labels in run.batches(images):
            run.take(train_step, batch, labels)
            if (run.epoch, run.step) == (epoch, step):
                return
        run.end_epoch(0, 0, 0)


@pytest.mark.parametrize("augment", [Augmentation([Crop(4)], CutMix(0.5)), Augmentation([RandAugment()])])
def test_augmented_runs_resume_exactly_within_an_epoch(augment, tmp_path):
    whole, images = start_training(augment)
    train_until(whole, images, 2)
    for step, chunk in ((0, 32), (5, 32), (5, 2)):  # how many batches are augmented at once changes nothing
        broken, _ = start_training(augment)
        broken.hardware.chunk = chunk
        train_until(broken, images, 1, step)
        torch.save(broken.state(), tmp_path / "state.pt")
        resumed, _ = start_training(augment, seed=1)
        resumed.restore(torch.load(tmp_path / "state.pt", weights_only=True))
        train_until(resumed, images, 2)
        assert equal(whole.model.state_dict(), resumed.model.state_dict())
        assert torch.equal(whole.generator.get_state(), resumed.generator.get_state())


def test_a_compiled_network_is_the_same_network(monkeypatch):
    """Traced by the compiler, run without code of its own: the same weights, under the same names."""
    compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, options: compile(self, backend="eager"))
    traced, images = start_training(None, hardware=Hardware("cpu", "float32", threads=1, compile=True))
    assert traced.model._compiled_call_impl is not None
    plain, _ = start_training(None)
    train_until(plain, images, 1, 5)
    train_until(traced, images, 1, 5)
    assert traced.model.state_dict().keys() == plain.model.state_dict().keys()
    assert equal(traced.model.state_dict(), plain.model.state_dict())
    plain.restore(copy.deepcopy(traced.state()))
    for run in (traced, plain):
        train_until(run, images, 2)
    assert equal(traced.model.state_dict(), plain.model.state_dict())
    assert Hardware.for_measuring(compile=True).compile is False


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_out_of_memory_says_what_to_lower(error):
    with (
        pytest.raises(UserError, match=r"cpu, 1 thread is out of memory: give a lower recipe.batch_size than 8$"),
        Hardware("cpu", threads=1).explain_failures("recipe.batch_size", 8),
    ):
        raise error


def test_memory_that_is_not_there_is_one_line(monkeypatch):
    with pytest.raises(UserError, match="out of memory"), Hardware("cpu", threads=1).explain_failures("batch", 1):
        torch.empty(2**60)


@pytest.mark.parametrize(
    ("slurm", "launcher", "threads"),
    [
        ({"SLURM_CPUS_PER_TASK": "1", "SLURM_CPUS_ON_NODE": "8"}, {"_target_": "SlurmLauncher"}, 1),
        ({"SLURM_CPUS_ON_NODE": "1"}, {"_target_": "SlurmLauncher"}, 1),
        ({}, {"_target_": "JoblibLauncher", "n_jobs": -1}, 1),
        ({}, {"_target_": "JoblibLauncher", "n_jobs": 1000}, 1),
        ({}, {"_target_": "JoblibLauncher", "n_jobs": 1}, min(2, joblib.cpu_count())),
        ({}, {"_target_": "BasicLauncher"}, min(2, joblib.cpu_count())),
    ],
)
def test_slurm_or_the_launcher_decides_the_threads_where_nobody_else_does(monkeypatch, slurm, launcher, threads):
    for key in ("LOKY_MAX_CPU_COUNT", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.setenv(key, "")  # so that it is as before after the test
        monkeypatch.delenv(key)
    for key, value in slurm.items():
        monkeypatch.setenv(key, value)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        sweeps.limit_cores(OmegaConf.create(launcher))
        assert Hardware("cpu").threads == threads
        assert Hardware("cpu", threads=2).threads == 2
    finally:
        torch.set_num_threads(before)


def test_stretches_of_a_run_are_recorded_said_and_refused(run, tmp_path, monkeypatch):
    """A run that goes on with other hardware is another run: it says so, or `hardware.strict=true` refuses."""
    folder = tmp_path / "runs/digits6/cnn7/none/seed0"
    save = Run.save

    def save_and_stop(self, state):
        save(self, state)
        raise UserError("stopped")

    monkeypatch.setattr(Run, "save", save_and_stop)
    assert "stopped" in run("train.py", *TINY).error
    monkeypatch.setattr(Run, "save", save)
    before = torch.load(folder / "checkpoint.pt", weights_only=True)
    (first,) = before["stretches"]
    assert (first["epoch"], first["step"]) == (0, 0) and first["torch_version"] == torch.__version__
    monkeypatch.setattr(Hardware, "name", "another machine")
    refused = run("train.py", *TINY, "hardware.strict=true")
    assert refused.code == 1 and "now another machine: hardware.strict=true refuses" in refused.error
    again = run("train.py", *TINY)
    assert again.code == 0 and "now another machine: the weights will not be exactly" in again.out
    after = torch.load(folder / "checkpoint.pt", weights_only=True)["stretches"]
    assert after == [first, first | {"epoch": 1, "hardware": "another machine"}]
    assert run("measure.py", *TINY, "measure.images=20", "measure.blocks=1").code == 0
    (told,) = rows.read(next(tmp_path.rglob("results.csv"))).trained_on.unique()
    assert re.fullmatch(
        r"from epoch 0 step 0: cpu, \d+ threads?, .*; from epoch 1 step 0: another machine, .*", told
    )


def test_temporary_files_that_nobody_writes_any_more_are_removed(run, tmp_path):
    folder = tmp_path / "runs/digits6/cnn7/none/seed0"
    (folder / "weights").mkdir(parents=True)
    dead = [folder / ".checkpoint.pt.12", folder / "weights/.epoch1.pt.12"]
    living, other = folder / ".checkpoint.pt.34", folder / ".notes"
    for file in (*dead, living, other):
        file.write_text("x")
    for file in (*dead, other):
        os.utime(file, (0, 0))
    assert run("train.py", *TINY, "recipe.epochs=1").code == 0
    assert not any(file.exists() for file in dead) and living.exists() and other.exists()


def test_a_failing_compiler_is_named_in_one_line():
    explain = Hardware("cpu", threads=1).explain_failures
    with pytest.raises(UserError, match=r"failed \(no such\): hardware.compile=false"), explain("batch_size", 8):
        raise TorchDynamoException("no such\ncompiler")
    with pytest.raises(RuntimeError, match="ours"), explain("batch_size", 8):
        raise RuntimeError("ours")


def test_checkpoints_of_before_augmentations_resume_exactly():
    whole, images = start_training(None)
    train_until(whole, images, 2)
    broken, _ = start_training(None)
    train_until(broken, images, 1, 5)
    state = broken.state()
    del state["draws"]
    state["start"] = state.pop("step")  # as it was called
    resumed, _ = start_training(augmentation.build(config("aug=none").aug), seed=1)
    resumed.restore(state)
    train_until(resumed, images, 2)
    assert equal(whole.model.state_dict(), resumed.model.state_dict())


def test_configurations_of_before_a_key_was_added_are_the_same_run():
    """Old checkpoints know neither the schedule nor today's modules."""
    now = {
        "recipe": {"lr": 0.1, "schedule": "milestones", "warm_up": None},
        "model": {"_target_": "equivariance.study.models.CNN7"},
    }
    old = {"recipe": {"lr": 0.1}, "model": {"_target_": "equivariance.networks.CNN7"}}
    assert comparable(old) == comparable(now)
    assert comparable(old) != comparable(now | {"recipe": now["recipe"] | {"schedule": "one_cycle"}})


def test_an_augmented_run_learns_from_the_command_line(run, tmp_path):
    """The augmentation is part of what a run is: another one in its folder is refused."""
    given = (
        *WIDE,
        "aug=crop",
        "+aug.cutmix._target_=equivariance.study.data.augmentation.CutMix",
        "aug.name=crop_cutmix",
    )
    assert run("train.py", *given).code == 0
    folder = tmp_path / "runs/digits6/cnn7/crop_cutmix/seed0"
    metrics = pd.read_csv(folder / "metrics.csv")
    # chance is 1 / 6, with a standard deviation of 0.023 over 271 images
    assert metrics.train_loss[1] < metrics.train_loss[0] and metrics.accuracy[1] > 0.26
    assert "is complete: 2 epochs" in run("train.py", *given).out
    other = run("train.py", *given, "aug.crop.padding=2")
    assert other.code == 1 and "aug.crop.padding=4, this one has aug.crop.padding=2" in other.error


def test_one_cycle_rises_from_0_to_lr_and_falls_to_0():
    recipe = OmegaConf.load(REPOSITORY / "conf/recipe/one_cycle.yaml")
    recipe = OmegaConf.merge(OmegaConf.load(REPOSITORY / "conf/recipe/table2.yaml"), recipe)
    rates = [learning_rate(recipe, epochs) for epochs in (0, 2.5, 5, 12.5, 20)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.1, 0])


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ((torch.zeros(2, 6), torch.zeros(2, 6)), "a tuple"),
        ({"logits": torch.zeros(2, 6)}, "a dict"),
        (torch.zeros(2, 6, 4, 4), r"shape \(2, 6, 4, 4\)"),
        (torch.zeros(2), r"shape \(2,\)"),
        (torch.zeros(2, 5), r"shape \(2, 5\)"),
        (None, "a NoneType"),
    ],
)
def test_a_network_without_logits_is_not_trained(output, words):
    with pytest.raises(UserError, match=rf"^the network puts out {words}: training needs logits \(n, 6\) alone$"):
        training.logits_of(output, 6)
    more = torch.zeros(2, 9, dtype=torch.bfloat16)  # classes that no image has
    assert training.logits_of(more, 6).dtype == torch.float32


def test_weight_decay_is_decoupled_in_adamw_alone():
    """Decoupled: one step with no gradient multiplies by 1 - lr * decay; coupled, Adam takes a step of lr."""
    left = {}
    for name in ("adamw", "adam"):
        recipe = Recipe(1, 1, name, lr=0.1, weight_decay=0.5)
        linear = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(linear.weight, 2.0)
        linear.weight.grad = torch.zeros(1, 1)
        optimiser(recipe, linear).step()
        left[name] = linear.weight.item()
    assert left == pytest.approx({"adamw": 2 * (1 - 0.1 * 0.5), "adam": 2 - 0.1})


@pytest.mark.parametrize("schedule", ["milestones", "one_cycle"])
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_recipe_holds_the_keys_that_change_its_steps_and_no_others(name, schedule):
    """Of all sets of keys one is accepted, and another value of each of these keys gives other weights."""
    values = {"momentum": (0.5, 0.9), "milestones": ([1], [2]), "factor": (2.0, 9.0), "warm_up": (1.0, 2.0)}

    def trained(given):
        recipe = Recipe(4, 1, name, lr=0.1, weight_decay=0.0, **{"schedule": schedule, "milestones": None} | given)
        check_recipe(recipe, 9)
        linear = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(linear.weight, 2.0)
        steps = optimiser(recipe, linear)
        for epoch in range(recipe.epochs):
            steps.param_groups[0]["lr"] = learning_rate(recipe, epoch)
            linear.weight.grad = linear.weight.detach().clone()
            steps.step()
        return linear.weight.item()

    accepted = []
    for keys in itertools.chain.from_iterable(itertools.combinations(values, n) for n in range(5)):
        given = {key: values[key][0] for key in keys}
        try:
            before = trained(given)
        except UserError as error:
            wrong = re.findall(r"recipe\.(\w+)", str(error).split(":")[0].split("=")[0])
            assert wrong and all(key in values for key in wrong), error
        else:
            accepted.append(keys)
            assert all(trained(given | {key: values[key][1]}) != before for key in keys)
    assert len(accepted) == 1 and len(accepted[0]) == (name == "sgd") + (2 if schedule == "milestones" else 1)


def test_kept_weights_are_measured_and_equal_a_shorter_run(run, tmp_path):
    assert run("train.py", *TINY, "recipe.keep=[0,1,2]").code == 0
    assert run("train.py", *TINY, "recipe.epochs=1", f"runs_dir={tmp_path / 'short'}").code == 0
    folder = tmp_path / "runs/digits6/cnn7/none/seed0"
    kept = [torch.load(folder / f"weights/epoch{epoch}.pt", weights_only=True)["model"] for epoch in (0, 1, 2)]
    assert equal(kept[1], weights(tmp_path / "short")) and equal(kept[2], weights(tmp_path / "runs"))
    small = (*TINY, "measure.images=20", "measure.blocks=1")
    assert run("measure.py", *small, "measure.epoch=0").code == 0
    assert run("measure.py", *small, "measure.trained=false").code == 0
    at_0, untrained = (
        rows.read(folder / f"measure/rotation-blocks1-images20-{kind}/results.csv")
        for kind in ("epoch0", "untrained")
    )
    assert list(at_0.epoch.unique()) == [0] and at_0.value.equals(untrained.value)
    half_way = run("measure.py", *small, "measure.epoch=1")
    assert half_way.code == 0 and "1 epochs" in half_way.out, half_way.error
    missing = run("measure.py", *small, "measure.epoch=7")
    assert missing.code == 1 and "has the weights of epoch 0, 1, 2; recipe.keep=[7]" in missing.error


def test_weights_of_one_name_are_measured_in_folders_of_their_own(tmp_path):
    """And a file named after its digest, as torch.hub does, is not named twice."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.pt").write_text(name)
    digest = hashlib.sha256(b"a").hexdigest()[:8]
    (tmp_path / f"net-{digest}.pt").write_text("a")
    files = ("a/net.pt", "b/net.pt", f"net-{digest}.pt")
    given = [config("model=own", "model._target_=x.Y", f"model.weights={tmp_path / file}") for file in files]
    one, other, hub = (measurement_folder(cfg).name for cfg in given)
    assert one == hub == f"rotation-net-{digest}" and other.startswith("rotation-net-") and one != other
    with pytest.raises(UserError, match="needs the name of a file"):
        check(config("model=own", "model._target_=x.Y", "model.weights=[a]"))


def test_memory_that_runs_out_in_a_step_or_in_the_scores_is_one_line(run, monkeypatch):
    def no_memory(*_, **__):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory: 9 bytes")

    monkeypatch.setattr(Training, "take", no_memory)
    result = run("train.py", *TINY)
    assert result.code == 1 and "out of memory: give a lower recipe.batch_size than 128" in result.error
    assert result.error.count("\n") == 0
    monkeypatch.setattr(Equivariance, "compute", no_memory)
    untrained = ("measure.trained=false", "measure.images=20")
    result = run("measure.py", *TINY, *untrained)
    assert result.code == 1 and "out of memory: give a lower measure.blocks than 10" in result.error
    monkeypatch.setattr(Blocks, "add", no_memory)
    result = run("measure.py", *TINY, *untrained, "measure.name=other")
    assert result.code == 1 and "out of memory with 2 images and 3 copies of each" in result.error
