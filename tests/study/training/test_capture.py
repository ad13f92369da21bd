"""The captured training step: what is replayed, and from where it reads. On the CPU a tape stands for the graph."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from equivariance.study.data.augmentation import Augmentation, Crop, CutMix
from equivariance.study.training.cuda_graph import Captured
from equivariance.study.training.hardware import Hardware
from tests.study.training.test_training import equal, start_training, train_until

pytestmark = pytest.mark.slow

RECIPES = {  # powers of two: the same as numbers and as float32 tensors
    "sgd": ("recipe.optimiser=sgd", "recipe.momentum=0.9", "recipe.lr=0.0625"),
    "adam": ("recipe.lr=0.0078125",),
}
CUT = Augmentation([Crop(2)], CutMix(0.5))


class Tape(TorchDispatchMode):
    """Repeats, like a CUDA graph, operations on the memory that they had; nothing of Python happens again."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        self.operations.append((operation, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self):
        for operation, args, kwargs, result in self.operations:
            for old, new in zip(tree_leaves(result), tree_leaves(operation(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class OnTape(Captured):
    def warm_up(self, inputs):
        self.step(*inputs)

    def record(self, inputs):
        tape = Tape()
        with tape:
            self.step(*inputs)  # unlike a capture, this does the work
        first = iter([lambda: None])
        return lambda: next(first, tape.replay)()


def on_tape(precision="float32"):
    hardware = Hardware("cpu", precision, threads=1)
    hardware.graph, hardware.capture = True, OnTape
    return hardware


@pytest.mark.parametrize(("optimiser", "precision"), [("sgd", "float32"), ("adam", "float32"), ("sgd", "bfloat16")])
def test_replayed_steps_are_the_eager_ones(optimiser, precision, tmp_path):
    """Over a change of the learning rate, mixed labels, an evaluation of the sums, and a resumption."""
    recipe = (*RECIPES[optimiser], "recipe.milestones=[1]", "recipe.factor=2")
    eager, images = start_training(CUT, 0, recipe, Hardware("cpu", precision, threads=1))
    captured, _ = start_training(CUT, 0, recipe, on_tape(precision))
    for run in (eager, captured):
        train_until(run, images, 1, 6)
    assert captured.captured.replay is not None and not hasattr(eager.captured, "replay")
    assert equal(eager.model.state_dict(), captured.model.state_dict())
    assert eager.totals.means() == captured.totals.means() and captured.totals.images == 6 * 16
    resumed, _ = start_training(CUT, 1, recipe, on_tape(precision))
    torch.save(captured.state(), tmp_path / "state.pt")
    resumed.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    for run in (eager, captured, resumed):
        train_until(run, images, 2)
    assert equal(eager.model.state_dict(), captured.model.state_dict())
    assert equal(eager.model.state_dict(), resumed.model.state_dict())


def test_a_checkpoint_is_loaded_into_a_run_that_has_captured(tmp_path):
    one, images = start_training(CUT, 0, RECIPES["sgd"], on_tape())
    train_until(one, images, 0, 6)
    torch.save(one.state(), tmp_path / "state.pt")
    train_until(one, images, 1)
    after = {name: value.clone() for name, value in one.model.state_dict().items()}
    one.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    train_until(one, images, 1)
    assert equal(after, one.model.state_dict())


def test_other_shapes_are_refused():
    captured = OnTape(lambda x: None)
    captured(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="captured for shape"):
        captured(torch.zeros(3))  # would be broadcast


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimiser", list(RECIPES))
def test_on_a_gpu_a_graph_does_what_eager_steps_do(optimiser, tmp_path):
    recipe = (*RECIPES[optimiser], "recipe.milestones=[1]", "recipe.factor=2")
    runs = {graph: start_training(CUT, 0, recipe, Hardware("cuda", graph=graph)) for graph in (False, True)}
    for run, images in runs.values():
        train_until(run, images, 1, 6)
    eager, captured = (run for run, _ in runs.values())
    assert captured.captured.replay is not None
    for name, value in eager.model.state_dict().items():
        torch.testing.assert_close(value, captured.model.state_dict()[name], rtol=0.05, atol=0.01)
    torch.save(captured.state(), tmp_path / "state.pt")
    resumed, images = start_training(CUT, 1, recipe, Hardware("cuda", graph=True))
    resumed.restore(torch.load(tmp_path / "state.pt", map_location="cpu", weights_only=True))
    for run in (captured, resumed):
        train_until(run, images, 2)
    assert equal(captured.model.state_dict(), resumed.model.state_dict())


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
    ],
)
def test_dropout_draws_the_same_after_a_resumption(device):
    runs = []
    for seed in (0, 1):
        run, images = start_training(CUT, seed, RECIPES["sgd"], Hardware(device, threads=1))
        run.model.register_forward_hook(lambda model, inputs, logits: F.dropout(logits, 0.5, model.training))
        runs.append(run)
    train_until(runs[0], images, 0, 6)
    state = copy.deepcopy(runs[0].state())
    for run in runs:
        run.restore(copy.deepcopy(state))
        train_until(run, images, 1)
    assert equal(runs[0].model.state_dict(), runs[1].model.state_dict())


def test_float32_convolutions_are_not_rounded_to_ten_bits():
    assert Hardware("cpu").device.type == "cpu" and not torch.backends.cudnn.allow_tf32
