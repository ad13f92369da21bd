"""The measure on networks whose symmetry is built in, where the right answer is known."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from equivariance.errors import UserError
from equivariance.layers.find import find_layers
from equivariance.models import CNN7
from equivariance.scores.metric import Measurement, affordable_blocks, affordable_layers, chunks, feed, half_width
from equivariance.scores.transforms import QuarterTurn, Shift, dihedral, quarter_turns, shifts


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


def scores(model, transforms, images):
    """{(layer, element, measure): value}, and chance levels apart."""
    model.eval()
    measurement = Measurement(model, find_layers(model, images[0]), list(transforms), len(images))
    assert sum(feed(measurement, images.__getitem__, len(images), size=20)) == len(images)
    found = list(measurement.scores())
    keys = [(score.layer.name, score.transform.element, score.measure) for score in found]
    return (dict(zip(keys, (getattr(s, kind) for s in found), strict=True)) for kind in ("value", "chance"))


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
    values, chance = scores(network, quarter_turns([90, 180, 270]), images)
    assert min(values.values()) == pytest.approx(1, abs=1e-12)
    assert max(chance[key] for key in chance if key[0] != "pool") < 0.5


def test_all_turns_of_a_filter_are_equivariant_but_not_invariant(images):
    weight = random_filters(1, 1, 3, 3)
    network = Plain(torch.cat([weight.rot90(turn, (2, 3)) for turn in range(4)]))
    values, _ = scores(network, quarter_turns([90, 180, 270]), images)
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


@pytest.mark.parametrize("similarity", ["cosine", "per_image"])
def test_symmetric_filters_are_invariant_by_every_similarity(images, similarity):
    network = Plain(symmetrised(random_filters(3, 1, 3, 3))).eval()
    measurement = Measurement(network, find_layers(network, images[0]), quarter_turns([90]), 50, similarity)
    list(feed(measurement, images.__getitem__, 50, size=50))
    assert all(score.value == pytest.approx(1, abs=1e-12) for score in measurement.scores())


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
    with pytest.raises(UserError, match="45 degrees"):
        quarter_turns([45])
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


def measured(images, size, stop=None, before=None, blocks=5, model=None):
    """A measurement of a fixed untrained CNN-7, up to `stop`, going on from the state `before`."""
    torch.manual_seed(0)
    model = model or CNN7(1, 6).double().eval()
    measurement = Measurement(
        model, find_layers(model, images[0]), quarter_turns([90, 180]), len(images), blocks=blocks
    )
    if before:
        measurement.restore(before)
    list(feed(measurement, images.__getitem__, stop or len(images), size))
    return measurement


def close(a, b):
    fields = ("value", "chance", "low", "high", "activation")
    pairs = [[[getattr(score, field) for field in fields] for score in m.scores()] for m in (a, b)]
    torch.testing.assert_close(*map(torch.tensor, pairs), atol=1e-10, rtol=0, equal_nan=True)


@pytest.fixture
def digits():
    return torch.rand(41, 1, 28, 28, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("size", [2, 7, 16, 41])
def test_batch_size_has_no_influence_on_scores_and_intervals(digits, size):
    close(measured(digits, size), measured(digits, 1000))


def test_an_interrupted_measurement_goes_on_exactly(digits):
    half = measured(digits, 6, stop=12).state()
    assert half["done"] < 41
    close(measured(digits, 6, before=half), measured(digits, 6))


def test_parts_of_the_images_measured_apart_merge_exactly(digits):
    whole, first, rest = measured(digits, 8), measured(digits, 8, stop=16), measured(digits, 8, stop=1)
    cut = first.done
    rest.restore({**rest.state(), "statistics": [{} for _ in rest.blocks], "done": cut})
    list(feed(rest, digits.__getitem__, 41, 8))
    first.merge(rest.state())
    close(first, whole)


def test_out_of_memory_halves_the_batch_and_changes_nothing(digits, capsys):
    class Small(CNN7):
        """Runs out of memory with more than 8 images and two copies of each, half way through."""

        def forward(self, x):
            if len(x) > 24:
                self.blocks[0](x)
                raise torch.OutOfMemoryError
            return super().forward(x)

    torch.manual_seed(0)
    small = Small(1, 6).double().eval()
    close(measured(digits, 41, model=small, blocks=1), measured(digits, 41, blocks=1))
    assert "out of memory: batches of 20 images from here on" in capsys.readouterr().out
    stopped = measured(digits, 41, stop=1, model=small, blocks=1)  # before the other batches
    assert stopped.done == 4 and max(stopped.reached.values()) == 41
    close(measured(digits, 41, before=stopped.state(), blocks=1), measured(digits, 41, blocks=1))
    small.forward = lambda x: (_ for _ in ()).throw(torch.OutOfMemoryError())
    with pytest.raises(UserError, match="out of memory with 2 images and 2 copies"):
        list(feed(Measurement(small, [], quarter_turns([90, 180]), 41), digits.__getitem__, 41, 8))


def test_jackknife_is_the_standard_error_of_a_mean():
    """For a mean of blocks the jackknife's standard error is that of the mean itself; t(0.975, 4) = 2.776."""
    blocks = torch.tensor([1.0, 4.0, 2.0, 8.0, 5.0])
    without = [(blocks.sum() - x) / 4 for x in blocks]
    assert half_width([x.item() for x in without]) == pytest.approx(2.7764 * blocks.std().item() / 5**0.5, rel=1e-4)


def test_the_interval_covers_what_more_images_give():
    """Of scores from 40 images, most intervals hold the score of 800; that of a single block is not defined."""
    images = torch.rand(840, 1, 14, 14, generator=torch.Generator().manual_seed(0)).double()
    network = Plain(random_filters(4, 1, 3, 3)).eval()
    layers = find_layers(network, images[0])[:1]

    def score(part, blocks=10):
        measurement = Measurement(network, layers, quarter_turns([90]), len(part), blocks=blocks)
        list(feed(measurement, part.__getitem__, len(part), 1000))
        return next(measurement.scores())

    truth = score(images[40:]).value
    covered = [s.low <= truth <= s.high for s in (score(images[i : i + 40]) for i in range(0, 400, 40))]
    assert sum(covered) >= 7
    assert score(images[:40], blocks=1).low != score(images[:40], blocks=1).low


@pytest.mark.parametrize(
    ("images", "channels", "size"), [(64, 16, 16 * 1024), (7, 16, 2**17), (9, 2048, 49), (2, 3, 9)]
)
def test_chunks_keep_partners_together(images, channels, size):
    cuts = list(chunks(images, channels, size * channels))
    assert cuts[0].start == 0 and cuts[-1].stop == images
    assert all(cut.stop == after.start and (cut.stop - cut.start) % 2 == 0 for cut, after in pairwise(cuts))
    assert cuts[-1].stop - cuts[-1].start >= 2


def test_wide_layers_get_fewer_blocks():
    layer = find_layers(CNN7(1, 10), torch.zeros(1, 28, 28))[0]
    assert affordable_blocks([layer], 3, 10) == 10
    wide = [replace(layer, channels=2048)] * 10  # 8 x 2048 x (2048 + 64) bytes each, for each of three turns
    assert affordable_blocks(wide, 3, 10) == 4
    assert affordable_blocks(wide, 32, 10) == 1


def test_layers_too_wide_for_any_memory_are_left_out():
    layer = find_layers(CNN7(1, 10), torch.zeros(1, 28, 28))[0]
    widest = replace(layer, name="final", channels=21841)  # the classes of ImageNet-22k
    kept, left_out = affordable_layers([layer, widest], 3)
    assert kept == [layer] and left_out == {"final": "the sums of all pairs of its channels need 11 GiB"}
