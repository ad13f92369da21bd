"""The measure on networks whose symmetry is built in, where the right answer is known."""

import pytest
import torch
from torch import nn

from equivariance.errors import UserError
from equivariance.features import find_layers
from equivariance.measure import Measurement
from equivariance.models import CNN7
from equivariance.transforms import QuarterTurn, Shift, dihedral, quarter_turns, shifts


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
    measurement = Measurement(model.eval(), find_layers(model, images[0]), list(transforms))
    measurement.add(images[:20])
    measurement.add(images[20:])
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
    measurement = Measurement(network, find_layers(network, images[0]), quarter_turns([90]), similarity)
    measurement.add(images)
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
