"""A trained network is named by its folder, and every measuring option has a folder of its own."""

import resource

import pytest
import torch

from equivariance import rows
from equivariance.errors import UserError
from equivariance.study.cli.words import prepared
from equivariance.study.identity import measurement_folder, options
from equivariance.study.runs.folder import Run, save_state
from tests.study.test_config import config

TINY = ("dataset=digits6", "model=cnn7", "recipe.epochs=1", "recipe.milestones=[]", "recipe.keep=[0]")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["measure=rotation", "seed=1", "hardware.threads=1"], ""),
        (["measure.images=100", "measure.over=dataset"], "-images100-over-dataset"),
        (["measure.over=[image,dataset]"], "-over-image-dataset"),
        (["measure.transform.elements=[15,30]", "+measure.transform.border=zero"], "-15-30-border-zero"),
        (["measure.batch_size=5", "measure.trained=false", "measure.epoch=3"], ""),
        (["measure.name=mine", "measure.images=5"], ""),
    ],
)
def test_a_folder_carries_what_the_command_line_changes(words, named):
    assert options(words) == options(reversed(words)) == named


def test_options_that_differ_are_never_named_alike():
    """Whatever signs and lengths their values have."""
    values = ["[layer*.*]", "[layer?.*]", "x" * 41, "x" * 42, "a", "b", "[1,2]", "12", "[a]"]
    names = [options([f"measure.layers={value}"]) for value in values]
    assert len({*names} - {""}) >= len(values) - 1  # [a] and a are one value
    assert options(["measure.similarity=cosine"], ["measure.similarity"]) == ""  # a sweep of the preset


def test_a_measurement_of_before_is_found_in_the_presets_folder(tmp_path):
    cfg = config("dataset=digits6", "model=cnn7", f"run_dir={tmp_path}", "measure.images=60")
    cfg.measure.options = "-images60"
    assert measurement_folder(cfg).name == "rotation-images60"
    there = tmp_path / "measure/rotation"
    there.mkdir(parents=True)
    old = """measure:
  transform: {_target_: equivariance.scores.continuous.turns, elements: [90, 180, 270]}
  similarity: pearson
  over: image
  images: 60
  image_seed: 0
  blocks: 10
  trained: true
  layers: null
"""
    (there / "config.yaml").write_text(old)
    assert measurement_folder(cfg) == there
    (there / "config.yaml").write_text(old.replace("60", "61"))
    assert measurement_folder(cfg).name == "rotation-images60"


@pytest.mark.slow
def test_run_names_a_training(run, tmp_path):
    """By its folder or a pattern; its checkpoint says all else, also one of before modules moved."""
    assert run("train.py", *TINY).code == 0
    folder = tmp_path / "runs/digits6/cnn7/none/seed0"
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    for group in ("dataset", "model"):
        state["config"][group]["_target_"] = state["config"][group]["_target_"].replace(".study", "")
    for key in ("computation", "classes"):  # which older ones do not have
        state["config"].pop(key, state.pop(key, None))
    Run(folder).save(state)
    small = ("measure.images=10", "measure.blocks=1")
    whole = run("measure.py", f"run={folder}", *small)
    assert whole.code == 0, whole.error
    name = folder / "measure/rotation-blocks1-images10"
    assert rows.read(name / "results.csv").epochs.unique() == [1]
    assert (
        run("measure.py", *TINY, *small).code == 0
        and "is complete" in run("measure.py", f"run={folder}", *small).out
    )
    again = run("measure.py", f"run={tmp_path}/runs/*", *small, "measure.epoch=0")
    assert again.code == 0 and name.with_name(name.name + "-epoch0").exists(), again.error
    other = run("measure.py", "dataset=digits6", "model=cnn7", *small)
    assert other.code == 1 and f"measure.py run={folder} measures that one" in other.error
    beside = run("measure.py", f"run={folder}", "seed=1", "recipe.epochs=3")
    assert beside.code == 1 and "seed=1 recipe.epochs=3 beside run=" in beside.error
    layer = run("measure.py", f"run={folder}", *small, "measure.layers=[blok1]")
    assert layer.code == 1 and "blok1" in layer.error and "holds" not in layer.error


@pytest.mark.parametrize(
    "word", ["model.weights=epoch=3.ckpt", "model.weights=net(1).pt", "runs_dir=é(", "seed=[1"]
)
def test_what_cannot_be_read_says_how_to_quote(word):
    key, _, value = word.partition("=")
    with pytest.raises(UserError, match="quote") as error:
        prepared([word])
    quoted = str(error.value).rpartition("'" + key)[2].removesuffix("'")
    assert quoted == f'="{value}"' and prepared([f"{key}{quoted}"]) == [f"{key}{quoted}"]


def test_another_computation_is_another_network(tmp_path):
    """Of the same version of PyTorch; what it computed under another one is not known."""
    place = {"epoch": 0, "step": 0, "git_commit": "", "hardware": ""}
    for version, refused in ((str(torch.__version__), True), ("0.4", False)):
        state = dict.fromkeys(("order", "model", "optimiser", "generator", "torch_rng", "totals"))
        stretches = [place | {"torch_version": version}]
        config = {"seed": 0, "computation": "a"}
        Run(tmp_path).save(state | {"config": config, "epoch": 0, "history": [], "stretches": stretches})
        if refused:
            with pytest.raises(UserError, match="computes otherwise"):
                Run(tmp_path).load(config | {"computation": "b"})
        assert Run(tmp_path).load(config if refused else config | {"computation": "b"})


def test_what_fails_leaves_no_folder(tmp_path):
    folder = tmp_path / "a/b"
    with pytest.raises(UserError), Run(folder).only_process():
        raise UserError("before anything was written")
    assert not folder.parent.exists()
    with Run(folder).only_process():
        (folder / "metrics.csv").write_text("x")
    assert {each.name for each in folder.iterdir()} == {"metrics.csv", ".lock"}


@pytest.mark.parametrize("size", [10, 10**6])
def test_a_full_disk_is_said_in_a_line_and_nothing_is_left(size, tmp_path):
    """Whether PyTorch notices it while it writes tensors or at the end: here the file may have a kilobyte."""
    limit, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
    try:
        with pytest.raises(UserError, match=r"^cannot write .*net.pt: File too large; "):
            save_state(tmp_path / "net.pt", {"a": torch.zeros(size)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    assert not [*tmp_path.iterdir()]
