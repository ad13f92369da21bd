"""The measure on networks whose symmetry is built in, where the right answer is known."""

import functools
import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import equivariance as eq
from equivariance.errors import UserError
from equivariance.layers.find import find_layers
from equivariance.metric.equivariance import Equivariance
from equivariance.metric.measure import measure
from equivariance.metric.memory import affordable_blocks, affordable_layers, chunks, memory
from equivariance.names import OVER, SIMILARITIES
from equivariance.rows import COLUMNS
from equivariance.study.models import CNN7
from equivariance.transforms.exact import QuarterTurn, Shift
from equivariance.transforms.sets import dihedral, rotations, shifts
from tests.conftest import rounding


class Plain(nn.Module):
    """Convolutions of given filters with ReLU in between, global pooling, and the identity as the last layer."""

    def __init__(self, *filters, stride=1):
        super().__init__()
        self.blocks = nn.ModuleList()
        for weight in filters:
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[-1], stride=stride, bias=False)
            convolution.weight.data = weight
            self.blocks.append(nn.Sequential(convolution, nn.ReLU()))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.pool(x)

    def feature_layers(self):
        return {f"block{i}": block for i, block in enumerate(self.blocks)} | {"pool": self.pool}


def scores(model, transforms, images, over="dataset"):
    """{(layer, element, measure): value}, and chance levels apart."""
    table = measure(model, images, list(transforms), over=over, batch_size=20)
    table = table.set_index(["layer", "element", "score"])
    return table.value.to_dict(), table.chance.to_dict()


@pytest.fixture
def images():
    return torch.rand(50, 1, 20, 20, generator=torch.Generator().manual_seed(0)).double()


def random_filters(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).double()


def symmetrised(weight):
    """The mean of the four quarter turns of each filter."""
    return sum(weight.rot90(turn, (2, 3)) for turn in range(4)) / 4


def test_symmetric_filters_are_invariant_to_quarter_turns(images):
    network = Plain(symmetrised(random_filters(3, 1, 3, 3)), symmetrised(random_filters(4, 3, 3, 3)))
    values, chance = scores(network, rotations([90, 180, 270]), images)
    assert min(values.values()) == pytest.approx(1, abs=1e-12)
    assert max(chance[key] for key in chance if key[0] != "pool") < 0.5


def test_all_turns_of_a_filter_are_equivariant_but_not_invariant(images):
    weight = random_filters(1, 1, 3, 3)
    network = Plain(torch.cat([weight.rot90(turn, (2, 3)) for turn in range(4)]))
    values, _ = scores(network, rotations([90, 180, 270]), images)
    for degrees in (90, 180, 270):
        assert values["block0", degrees, "equivariance"] == pytest.approx(1, abs=1e-12)
        assert values["block0", degrees, "invariance"] < 0.9


def test_turning_the_wrong_way_is_seen(images):
    """The copy must be turned back, not on: otherwise even a symmetric network looks unlike itself."""
    turn = QuarterTurn(1)
    copy = turn.act(images)
    back, original = turn.align(copy, images, 1)
    assert torch.equal(back, original)
    assert not torch.equal(copy.rot90(1, (2, 3)), images)


@pytest.mark.parametrize("stride", [1, 2])
def test_unpadded_convolutions_shift_exactly_on_the_overlap(images, stride):
    network = Plain(random_filters(3, 1, 3, 3), stride=stride)
    values, _ = scores(network, map(Shift, [2, 4, 6]), images)
    exact = [value for (layer, _, _), value in values.items() if layer == "block0"]
    assert min(exact) == pytest.approx(1, abs=1e-12)


def test_a_shift_between_two_strides_is_not_exact(images):
    values, _ = scores(Plain(random_filters(3, 1, 3, 3), stride=2), map(Shift, [2, 3]), images)
    assert values["block0", 3, "invariance"] < 0.9 < values["block0", 2, "invariance"]


ALL = ["mirror", "mirror90", "mirror180", "mirror270", 90, 180, 270]


def test_symmetries_of_the_square_undo_themselves():
    x = torch.rand(2, 3, 6, 6)
    seen = []
    for g in dihedral(ALL):
        assert torch.equal(g.align(g.act(x), x, 1)[0], x)
        assert not any(torch.equal(g.act(x), other) for other in seen)
        seen.append(g.act(x))
    mirror, turned = dihedral(["mirror"])[0], dihedral(["mirror90"])[0]
    assert torch.equal(mirror.act(x), x.flip(3)) and torch.equal(turned.act(x), x.flip(3).rot90(1, (2, 3)))


def test_filters_with_all_symmetries_are_invariant_to_all(images):
    weight = symmetrised(random_filters(3, 1, 3, 3))
    values, _ = scores(Plain(weight + weight.flip(3)), dihedral(ALL), images)
    assert min(values.values()) == pytest.approx(1, abs=1e-12)
    assert {element for _, element, _ in values} == set(ALL)


def circular(network):
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.padding, module.padding_mode = (1, 1), "circular"
            module._reversed_padding_repeated_twice = [1, 1, 1, 1]
    return network


@pytest.mark.parametrize("direction", ["diagonal", "vertical", "horizontal"])
def test_circular_convolutions_shift_exactly_and_zero_fill_does_not(images, direction):
    network = circular(Plain(random_filters(3, 1, 3, 3), random_filters(3, 3, 3, 3)))
    values, _ = scores(network, shifts([1, 7], direction, "circular", "floor"), images)
    assert min(values.values()) == pytest.approx(1, abs=1e-12)
    filled, _ = scores(network, shifts([1, 7], direction, "full", "floor"), images)
    assert filled["block1", 7, "invariance"] < 0.999


def test_roundings_of_shifts_between_two_strides():
    x = torch.rand(2, 3, 12, 12)
    found = {kind: Shift(7, rounding=kind).align(x, x, 4) for kind in ("floor", "round", "exact")}
    assert found["floor"][0].shape[-1] == 11 and found["round"][0].shape[-1] == 10 and found["exact"] is None
    assert Shift(8, rounding="exact").align(x, x, 4)[0].shape[-1] == 10


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("over", OVER)
def test_symmetric_filters_are_invariant_by_every_similarity(images, similarity, over):
    network = Plain(symmetrised(random_filters(3, 1, 3, 3))).eval()
    table = measure(network, images, rotations([90]), similarity=similarity, over=over)
    assert table.value.tolist() == pytest.approx([1] * len(table), abs=1e-12)


def test_shifts_line_up_by_the_floor_of_shift_over_stride():
    x = torch.rand(2, 3, 12, 12)
    for pixels in (1, 5, 11):
        shift = Shift(pixels)
        assert torch.equal(*shift.align(shift.act(x), x, 1))
    copy, original = Shift(5).align(x, x, stride=2)
    assert torch.equal(copy, x[..., 2:, 2:]) and torch.equal(original, x[..., :10, :10])
    assert Shift(5).align(x[..., :2, :2], x[..., :2, :2], stride=2) is None


def test_transformations_refuse_what_they_are_not_defined_on():
    with pytest.raises(UserError, match="square"):
        QuarterTurn(1).check(20, 30)
    with pytest.raises(UserError, match="leaves nothing"):
        Shift(28).check(28, 28)


@pytest.mark.parametrize(("padding", "sizes"), [(0, [26, 24, 10, 8, 6, 4, 2]), (1, [28, 28, 14, 14, 14, 14, 14])])
def test_layers_of_cnn7(padding, sizes):
    layers = find_layers(CNN7(1, 6, padding=padding), torch.zeros(1, 28, 28))
    assert [layer.size[0] for layer in layers[:-2]] == sizes
    assert [layer.stride for layer in layers] == [1, 1, 2, 2, 2, 2, 2, None, None]
    assert [layer.part for layer in layers] == ["early"] * 3 + ["middle"] * 2 + ["late"] * 2 + ["pool", "final"]
    assert [layer.name for layer in layers[-2:]] == ["pool", "final"]


def test_cnn7_has_the_published_form():
    model = CNN7(1, 6)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 7 and all(c.out_channels == 20 for c in convolutions)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 6)
    model(torch.rand(4, 1, 28, 28)).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


NUMBERS = ["value", "cross_fitted", "chance", "low", "high", "activation", "live"]
TURNS = rotations([90, 180])


def metric_of(images, over="image", model=None, **arguments):
    """The metric of a fixed untrained CNN-7, a narrow one."""
    torch.manual_seed(0)
    model = model or CNN7(1, 6, width=6).double()
    return Equivariance(model, TURNS, over=over, **arguments)


def filled(images, sizes, start=0, **arguments):
    metric = metric_of(images, **arguments)
    metric.reset(start)
    for batch in images.split(sizes):
        metric.update(batch)
    return metric


@functools.cache
def at_once(count=41, over="image", layers=None):
    """The table of so many digits, put in as one batch."""
    return filled(random_digits()[:count], count, over=over, layers=layers and list(layers)).compute()


def close(a, b):
    torch.testing.assert_close(
        *(torch.tensor(table[NUMBERS].to_numpy(float)) for table in (a, b)), atol=1e-10, rtol=0, equal_nan=True
    )


def random_digits():
    return torch.rand(41, 1, 28, 28, generator=torch.Generator().manual_seed(0)).double()


@pytest.fixture
def digits():
    return random_digits()


SOME = ("blocks.0", "blocks.3", "pool", "final")


@pytest.mark.parametrize(("count", "sizes"), [(21, 1), (21, 8), (40, 7), (40, 8), (41, 7), (41, 8)])
def test_no_cut_into_batches_changes_scores_or_intervals(digits, count, sizes):
    images, whole = digits[:count], at_once(count, OVER, SOME)
    assert whole.low.notna().all() and whole.images.unique() == [count] and {*whole.over} == {*OVER}
    assert whole.layer.nunique() == len(SOME)
    close(filled(images, sizes, over=OVER, layers=[*SOME], batch_size=6).compute(), whole)


@pytest.mark.parametrize("over", OVER)
def test_one_of_all_that_are_measured_in_one_pass_is_what_it_is_alone(over):
    together, alone = at_once(over=OVER), at_once(over=over)
    order = ["index", "element", "score"]
    close(together[together.over == over].sort_values(order), alone.sort_values(order))


def test_computing_in_between_changes_nothing(digits):
    metric = metric_of(digits)
    for batch in digits.split(9):
        metric.update(batch)
        metric.compute()
    close(metric.compute(), at_once())
    close(metric.compute(), metric.compute())
    metric.reset()
    metric.update(digits)
    close(metric.compute(), at_once())


@pytest.mark.parametrize("cut", [2, 12, 30])
def test_two_halves_merge_into_the_whole(digits, cut):
    first, second = filled(digits[:cut], 5), filled(digits[cut:], 9, start=cut)
    first.merge_state(second)
    close(first.compute(), at_once())


def test_any_iterable_of_batches_is_measured(digits):
    torch.manual_seed(0)
    model = CNN7(1, 6, width=6).double()
    whole = measure(model, digits, TURNS)
    pairs = ((batch, torch.zeros(len(batch)).long()) for batch in digits.split(5))
    close(measure(model, pairs, TURNS), whole)
    close(measure(model, digits.numpy(), TURNS, batch_size=10), whole)
    assert {*whole} <= {*COLUMNS} and whole.model.unique() == ["CNN7"]


@pytest.mark.parametrize("cut", [1, 14, 15])
def test_an_interrupted_measurement_goes_on_exactly(digits, cut):
    half = filled(digits[:cut], 5).state_dict()
    metric = metric_of(digits)
    metric.load_state_dict(half)
    assert metric.images == cut
    metric.update(digits[cut:])
    close(metric.compute(), at_once())


def test_out_of_memory_halves_the_batch_and_changes_nothing(digits, capsys):
    class Small(CNN7):
        """Runs out of memory with more than 8 images and two copies of each, half way through."""

        def forward(self, x):
            if len(x) > 24:
                self.blocks[0](x)
                raise torch.OutOfMemoryError
            return super().forward(x)

    torch.manual_seed(0)
    small = Small(1, 6, width=6).double()
    close(filled(digits, 41, model=small).compute(), at_once())
    assert "out of memory: batches of 20 images from here on" in capsys.readouterr().out
    metric = filled(digits, 41)
    metric.model.forward = lambda x: (_ for _ in ()).throw(torch.OutOfMemoryError())
    with pytest.raises(UserError, match="out of memory with 2 images and 2 copies"):
        metric.update(digits)


def test_the_model_is_left_as_it_was(digits):
    torch.manual_seed(0)
    model = CNN7(1, 6).double()
    model.blocks[2].eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    table = measure(model, digits[:8], TURNS)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    close(table, measure(model.eval(), digits[:8], TURNS))

    metric = metric_of(digits, model=model)
    model.blocks[3].forward = lambda x: (_ for _ in ()).throw(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        metric.update(digits)
    assert not any(module._forward_hooks for module in model.modules())


def test_nan_is_an_error_that_names_the_first_layer(digits):
    for value in (float("nan"), float("inf")):
        metric = metric_of(digits)
        metric.model.blocks[3][0].weight.data[0] = value
        with pytest.raises(UserError, match="layer block4 hold NaN or infinity"):
            metric.update(digits)


def test_nan_in_an_image_is_an_error_that_names_it(digits):
    images = digits[:6].clone()
    images[4, 0, 3, 3] = math.nan
    metric = metric_of(digits)
    metric.update(digits[:4])
    with pytest.raises(UserError, match=r"image 8 \(from 0 on\) holds NaN or infinity"):
        metric.update(images)


def test_layers_without_a_live_channel_are_known(digits):
    metric = metric_of(digits)
    metric.model.blocks[3][0].weight.data.zero_()
    metric.update(digits[:6])
    dead = {name for name in metric.layers if metric.similarities(name, 90).diagonal().isnan().all()}
    assert set(metric.layers) > dead >= {"block4", "pool", "final"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"over": "picture"}, "over=picture: choose image, image_relu, image_max, dataset"),
        ({"similarity": "dot"}, "similarity=dot: choose pearson, cosine"),
        ({"transforms": []}, "transforms is empty"),
        ({"transforms": rotations(90) * 2}, "rotation by 90 is there twice"),
        ({"blocks": 0}, "blocks=0: needs a whole number from 1 on"),
        ({"layers": ["nothing*"]}, "no module's name matches nothing"),
    ],
)
def test_wrong_arguments_are_named(digits, wrong, message):
    given = {"transforms": TURNS} | wrong
    with pytest.raises(UserError, match=message):
        Equivariance(CNN7(1, 6).double(), **given).update(digits)


def test_images_that_cannot_be_measured_are_refused(digits):
    model = CNN7(1, 6).double()
    for images, message in (([], "no images"), (digits[0], "give .n, c, h, w.")):
        with pytest.raises(UserError, match=message):
            measure(model, images, TURNS)


def test_another_type_is_measured_in_float32(digits):
    """A network in bfloat16 gets its images in that type; its statistics are exact sums of what it puts out."""
    torch.manual_seed(0)
    model = CNN7(1, 6)
    whole, half = (measure(each, digits.float(), TURNS) for each in (model, model.bfloat16()))
    assert (whole.value - half.value).abs().max() < 0.05 and half.value.notna().all()


def test_the_interval_covers_what_more_images_give():
    """Of scores from 40 images, most intervals hold the score of 800; that of a single block is not defined."""
    images = torch.rand(840, 1, 14, 14, generator=torch.Generator().manual_seed(0)).double()
    network = Plain(random_filters(4, 1, 3, 3)).eval()

    def score(part, **arguments):
        return measure(network, part, rotations([90]), ["blocks.0"], batch_size=1000, **arguments).iloc[0]

    truth = score(images[40:]).value
    covered = [s.low <= truth <= s.high for s in (score(images[i : i + 40]) for i in range(0, 400, 40))]
    assert sum(covered) >= 7
    assert "low" not in score(images[:40], blocks=1)


@pytest.mark.parametrize(
    ("images", "channels", "size"), [(64, 16, 16 * 1024), (6, 16, 2**17), (8, 2048, 49), (1, 3, 9)]
)
def test_chunks_keep_partners_together(images, channels, size):
    cuts = list(chunks(images, channels, size * channels))
    assert cuts[0].start == 0 and cuts[-1].stop == images
    assert all(cut.stop == after.start for cut, after in pairwise(cuts))
    assert images == 1 or all((cut.stop - cut.start) % 2 == 0 for cut in cuts)


def test_wide_layers_get_fewer_blocks():
    layer = find_layers(CNN7(1, 10), torch.zeros(1, 28, 28))[0]
    assert affordable_blocks([layer], 3, 10) == 10
    wide = [replace(layer, channels=2048)] * 10  # 12 x 2048 x (2048 + 64) bytes each, for each of three turns
    assert affordable_blocks(wide, 3, 10) == 2
    assert affordable_blocks(wide, 32, 10) == 1


def test_layers_too_wide_for_any_memory_are_left_out():
    layer = find_layers(CNN7(1, 10), torch.zeros(1, 28, 28))[0]
    widest = replace(layer, name="final", channels=21841)  # the classes of ImageNet-22k
    kept, left_out = affordable_layers([layer, widest], 3)
    assert kept == [layer] and left_out == {"final": "the sums of all pairs of its channels need 34 GiB"}


def test_statistics_take_no_more_memory_than_counted():
    """All that is alive at once while a wide layer is measured, against what decides whether it is affordable."""
    network = nn.Sequential(nn.Conv2d(3, 1500, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    metric = Equivariance(network, TURNS, ["0"], blocks=2)
    metric.setup(torch.rand(2, 3, 4, 4))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        metric.update(torch.rand(20, 3, 4, 4))
        metric.compute()
    now = most = 0
    for event in profile.profiler.kineto_results.events():
        now += event.nbytes() if event.name() == "[memory]" else 0
        most = max(most, now)
    counted = memory(list(metric.layers.values()), 2, 2)
    assert 0.5 * counted < most < 1.1 * counted


@pytest.mark.parametrize("factor", [1e-30, 1e33])
def test_maps_whose_squares_leave_float32_are_scaled(factor):
    """A network whose maps are so many times as large has the same scores and as many times the activation."""

    def scores(factor):
        torch.manual_seed(1)
        first, last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            for weights in (first.weight, first.bias, last.bias):
                weights *= factor
        model = nn.Sequential(first, nn.ReLU(), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return eq.measure(model, images, eq.rotations([90]), over=["image", "dataset"])

    images = torch.randn(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found, usual = scores(factor), scores(1)
    columns = ["value", "cross_fitted", "chance", "low", "high", "dead_channels"]
    sums = rounding(20 * 8 * 8)  # over images and positions
    np.testing.assert_allclose(found[columns], usual[columns], atol=sums)
    np.testing.assert_allclose(found.activation / factor, usual.activation, rtol=sums)


def test_the_interval_holds_a_truth_of_zero_that_the_maximum_never_reaches():
    """Independent features have equivariance 0: the plug-in value is far above, the interval begins near it."""
    images = torch.randn(40, 32, 1, 1, generator=torch.Generator().manual_seed(0))

    class Noise(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :16]

    @dataclass(frozen=True)
    class Exchange:
        name = "exchange"
        element = 1

        def check(self, height, width):
            pass

        def act(self, x):
            return x.roll(16, 1)

        def align(self, copy, original, stride):
            return copy, original

    table = eq.measure(nn.Sequential(Noise()), images, [Exchange()], ["0"])
    one = table[table.score == "equivariance"].iloc[0]
    assert one.value > 0.2 and one.cross_fitted < 0.1 and one.low < 0.05
    assert one.low <= one.cross_fitted <= one.value <= one.high
