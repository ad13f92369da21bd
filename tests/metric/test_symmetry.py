"""The measure on whole networks whose answer follows from how they are made, found as anybody's network is."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from scipy.stats import norm
from torch import nn

from equivariance.metric.equivariance import Equivariance
from equivariance.names import OVER
from equivariance.study.models import CNN7
from equivariance.transforms.exact import Shift
from equivariance.transforms.sets import rotations


def scores(model, transforms, images, layers=None, kind="value", over="dataset"):
    """{(layer, element, measure): value}, or another column of the table."""
    metric = Equivariance(model, list(transforms), layers, over=over, batch_size=25)
    metric.update(images)
    return metric.compute().set_index(["layer", "element", "score"])[kind].to_dict()


@pytest.fixture
def images():
    return torch.rand(50, 1, 24, 24, generator=torch.Generator().manual_seed(0)).double()


class P4Convolution(nn.Module):
    """A convolution on the group of shifts and quarter turns (Cohen & Welling 2016), unpadded, with ReLU.

    (n, c * s, h, w) to (n, o * 4, h', w'), where s = 1 for an image and 4 for a map with orientations:
    orientation r of filter o is psi_o turned r times, its orientations moved on by r as well.
    """

    def __init__(self, inputs, outputs, orientations=4, stride=1):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, orientations, 3, 3) / math.sqrt(9 * inputs))
        self.stride = stride

    def forward(self, x):
        turned = [self.weight.rot90(turn, (3, 4)).roll(turn, 2) for turn in range(4)]
        filters = torch.stack(turned, 1).flatten(0, 1).flatten(1, 2)  # (o * 4, c * s, 3, 3)
        return F.conv2d(x, filters, stride=self.stride).relu()


class OrientationPooling(nn.Module):
    def forward(self, x):
        return x.unflatten(1, (-1, 4)).amax(2)


@pytest.mark.parametrize("over", OVER)
def test_a_p4_network_is_equivariant_and_behind_orientation_pooling_invariant(over):
    network = nn.Sequential(
        P4Convolution(2, 3, orientations=1),
        P4Convolution(3, 4, stride=2),  # from 21 positions to 10: the same from both ends
        P4Convolution(4, 5),
        OrientationPooling(),
        nn.Conv2d(5, 6, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 7),
    ).double()
    before, behind = ("0", "1", "2"), ("3", "5", "pool", "final")
    images = torch.rand(50, 2, 23, 23).double()
    values = scores(network, rotations([90, 180, 270]), images, [*before, *behind], over=over)
    for degrees in (90, 180, 270):
        for layer in before:
            assert values[layer, degrees, "equivariance"] == pytest.approx(1, abs=1e-9)
            assert values[layer, degrees, "invariance"] < 0.9
        for layer in behind:
            assert values[layer, degrees, "invariance"] == pytest.approx(1, abs=1e-9)


class Subsampled(nn.Module):
    """Two circular convolutions, between them `every` position by itself, or by a mean of those around it."""

    def __init__(self, down):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.layers = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1, padding_mode="circular") for i, o in ((1, 6), (6, 6))
        )
        for layer in self.layers:
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) / 3
        self.down = down

    def forward(self, x):
        return self.layers[1](self.down(self.layers[0](x).relu()))


def blur_pooling(channels):
    """A mean with the weights 1 4 6 4 1 along each axis before a stride of 2 (Zhang 2019)."""
    blur = nn.Conv2d(channels, channels, 5, 2, 2, groups=channels, bias=False, padding_mode="circular")
    weights = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    blur.weight.data = weights.outer(weights).expand_as(blur.weight)
    return blur


def test_blur_pooling_raises_and_striding_lowers_what_shifts_leave_alike(images):
    """Shifts by an odd number of pixels fall between two positions of stride 2; those by an even one do not."""
    ways = {
        "dense": nn.Identity(),
        "blurred": blur_pooling(6),
        "strided": nn.MaxPool2d(1, stride=2),
    }
    moves = [Shift(pixels, border="circular") for pixels in (2, 3, 4, 5)]
    found = {way: scores(Subsampled(down).double(), moves, images) for way, down in ways.items()}
    for measure in ("invariance", "equivariance"):
        for pixels in (2, 4):
            assert all(v["layers.1", pixels, measure] == pytest.approx(1, abs=1e-9) for v in found.values())
        for pixels in (3, 5):
            dense, blurred, strided = (v["layers.1", pixels, measure] for v in found.values())
            assert strided + 0.2 < blurred < 0.99 and dense == pytest.approx(1, abs=1e-9)


class Noise(nn.Module):
    """White noise, always the same for an image: a network that is not is refused."""

    def forward(self, x):
        seeds = (1e4 * x[:, 0, 0, 1].abs()).round().long().tolist()
        noise = [torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(noise) + 0 * x


@pytest.mark.parametrize("channels", [1, 4, 32, 128])
def test_white_noise_gives_the_chance_level(channels):
    """The correlation of N pairs of independent numbers is normal with variance 1 / N; of `channels` of them,
    the expected maximum with 0 is the integral of 1 - Phi(t)^channels over t > 0, by sqrt(N)."""
    network = nn.Sequential(nn.Conv2d(1, channels, 1), Noise())
    images, samples = torch.rand(50, 1, 6, 6), 50 * 6 * 6
    turns = rotations([90, 180, 270])
    found, chance = (scores(network, turns, images, ["1"], kind=kind) for kind in ("value", "chance"))
    for measure, among in (("invariance", 1), ("equivariance", channels)):
        mean = quad(lambda t, among=among: 1 - norm.cdf(t) ** among, 0, 10)[0]
        square = quad(lambda t, among=among: 2 * t * (1 - norm.cdf(t) ** among), 0, 10)[0]
        error = math.sqrt((square - mean**2) / channels / samples)
        expected = mean / math.sqrt(samples)
        for degrees in (90, 180, 270):
            key = "1", degrees, measure
            assert (found[key], chance[key]) == pytest.approx((expected, expected), abs=4 * error)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_the_order_of_channels_changes_no_score_of_any_layer(memory):
    """The same network with the channels of every layer in another order, and the next layer's inputs likewise."""
    network, relabelled = (CNN7(1, 6).double() for _ in range(2))
    state, order = network.state_dict(), torch.arange(1)
    others = {}
    for name, value in state.items():
        if name.endswith("weight") and value.ndim > 1:  # a convolution, or the classifier
            inputs, order = order, torch.randperm(len(value))
            others[name] = value[order][:, inputs]
        else:
            others[name] = value[order] if value.ndim else value
    relabelled.load_state_dict(others)
    digits = torch.rand(50, 1, 28, 28).double()
    plain, other = (
        scores(model.to(memory_format=memory), rotations([90, 180]), digits) for model in (network, relabelled)
    )
    assert plain == pytest.approx(other, abs=1e-9)
