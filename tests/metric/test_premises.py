"""What the measure takes for granted of a network: refused in one line where it does not hold."""

import pickle
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import equivariance as eq
from equivariance.metric.equivariance import Equivariance
from equivariance.names import NESTED
from tests.conftest import rounding

TURNS = eq.rotations([90, 180])


class Net(nn.Module):
    """Two convolutions, global pooling and a linear map, with something in between."""

    def __init__(self, between=None, classes=3):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.between, self.head = between or nn.Identity(), nn.Linear(6, classes)

    def forward(self, x):
        return self.head(self.second(self.between(self.first(x)).relu()).mean((2, 3)))


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Kept(nn.BatchNorm2d):
    """Always in training mode."""

    def train(self, mode=True):
        return super().train(True)


def images(count, seed=0):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


RANDOM = {
    **{f"dropout {p}": Function(lambda x, p=p: F.dropout(x, p)) for p in (0.05, 0.1, 0.5, 0.9)},
    "channels": Function(lambda x: F.dropout2d(x, 0.5)),
    "noise": Function(lambda x: x + 0.1 * torch.randn_like(x)),
}
OTHERS = {
    "batch norm without statistics": nn.BatchNorm2d(6, track_running_stats=False),
    "functional batch norm": Function(lambda x: F.batch_norm(x, None, None, training=True)),
    "the batch's mean": Function(lambda x: x - x.mean(0, keepdim=True)),
    "the batch's largest value": Function(lambda x: x / x.abs().max()),
    "batch norm kept in training mode": Kept(6),
}


@pytest.mark.parametrize("count", [1, 2, 20])
@pytest.mark.parametrize(
    ("between", "message"),
    [(RANDOM[name], "gives other maps of the same images each time") for name in RANDOM]
    + [(OTHERS[name], "depend on the other images of its batch") for name in OTHERS],
    ids=[*RANDOM, *OTHERS],
)
def test_a_network_whose_maps_are_not_its_images_is_refused(between, message, count):
    network = Net(between)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(eq.UserError, match=message):
        eq.measure(network, images(count), TURNS)
    for pair in ((network, Net()), (Net(), network)):
        with pytest.raises(eq.UserError, match=message):
            eq.similarity(*pair, images(count))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Counting(nn.Module):
    """Counts its passes, which no map depends on."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x):
        self.passes += 1
        return x


def test_a_network_that_a_pass_changes_is_refused_and_left_as_it_was():
    network = Net(Counting())
    for action in (lambda: eq.measure(network, images(4), TURNS), lambda: eq.similarity(Net(), network, images(4))):
        with pytest.raises(eq.UserError, match=r"a forward pass .* changes its buffer between\.passes"):
            action()
        assert network.between.passes == 0


@pytest.mark.parametrize("between", [nn.BatchNorm2d(6), nn.GroupNorm(2, 6), nn.Dropout(0.5), nn.InstanceNorm2d(6)])
def test_any_other_network_is_measured(between):
    assert eq.measure(Net(between), images(6), TURNS).value.notna().all()


class Scaled(Net):
    """Its first parameter is a number of another type than its filters."""

    def __init__(self, dtype):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0, dtype=dtype))  # of this module itself: before its modules'

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3))) * self.scale


def spectrum(x):
    return torch.fft.ifft2(torch.fft.fft2(x.relu()) * 2).real


ANY = {  # what a network may do or hold, and how many layers are measured
    "complex numbers inside": (lambda: Net(Function(spectrum)), {"first", "final"}),
    "a float64 number first": (lambda: Scaled(torch.float64), {"first", "second", "final"}),
    "a bfloat16 number first": (lambda: Scaled(torch.bfloat16), {"first", "second", "final"}),
    "no parameters": (lambda: nn.AvgPool2d(2), {"final"}),
    "bfloat16": (lambda: Net().to(torch.bfloat16), {"first", "second", "pool", "final"}),
    "float64": (lambda: Net().double(), {"first", "second", "pool", "final"}),
}


@pytest.mark.parametrize("kind", ANY)
def test_networks_of_any_numbers_are_measured(kind):
    make, layers = ANY[kind]
    table = eq.measure(make(), images(6), TURNS)
    assert layers <= {*table.layer} and table.value.between(0, 1).all()


def test_a_network_without_weights_is_refused():
    with pytest.raises(eq.UserError, match=r"^Net has no weights yet, its device is meta: load them first$"):
        eq.measure(Net().to("meta"), images(6), TURNS)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("batch_size", [3, 250])
def test_a_bad_map_of_any_image_is_refused(value, batch_size):
    """Wherever it lies in the stream, and if it is that of a copy alone."""
    for place in range(0, 12, 2):
        for turned in (False, True):
            bad = images(12)
            bad[place, 0, 0, -1 if turned else 0] = 50  # 90 degrees counter-clockwise: top right to top left

            def between(x):
                return x + torch.where(x[:, :, :1, :1].abs().amax(1, keepdim=True) > 8, value, 0.0)

            with pytest.raises(eq.UserError, match=r"feature maps of layer .* hold NaN or infinity"):
                eq.measure(Net(Function(between)), bad, TURNS, batch_size=batch_size)


def test_a_failed_update_leaves_no_number():
    metric = Equivariance(Net(), TURNS)
    metric.update(images(4))
    metric.model.second.weight.data[0] = torch.nan
    for action in (lambda: metric.update(images(4)), metric.compute, metric.state_dict):
        with pytest.raises(eq.UserError, match=r"hold NaN|failed half way"):
            action()


@pytest.mark.parametrize(
    ("over", "rectified"), [("image", False), ("image", True), ("image_max", False), ("dataset", True)]
)
def test_no_score_depends_on_the_scale_of_a_channel(over, rectified):
    """Half of the channels are so small, or large, that their squares leave float32."""
    x = images(20)

    def scores(scale):
        factors = torch.tensor([1.0] * 3 + [scale] * 3)[:, None, None]
        network = Net(Function(lambda y: (y.relu() if rectified else torch.tanh(y)) * factors))
        network.second = nn.Identity()
        return eq.measure(network, x, TURNS, ["between", "pool"], over=over, scores=wanted).value

    wanted = NESTED[:2] if over == "image_max" else NESTED
    expected = scores(1)
    for scale in (1e-3, 1e-6, 1e-12, 1e-21, 1e-24, 1e-36, 1e12, 1e21, 1e30):
        assert (scores(scale) - expected).abs().max() < rounding(20 * 64)


@pytest.mark.parametrize("over", ["image", "dataset"])
def test_means_of_many_deviations_are_right_or_the_channel_counts_as_dead(over):
    """Of the very same float32 maps, in float64, over the channels that vary by more than their rounding."""
    x = F.interpolate(images(20), (12, 12), mode="bilinear")
    for mean in (0, 1e2, 1e4, 3e5, 5e5, 1e6, 2e6, 1e8):
        network = Net(Function(lambda y, mean=mean: torch.tanh(y) + mean))
        network.second = nn.Identity()
        with torch.no_grad():
            f, g = (torch.tanh(network.first(each)) + mean for each in (x, x.rot90(2, (2, 3))))
        a, b = (y.double().flatten(2).numpy() for y in (g, f.rot90(-2, (2, 3))))
        axes = 2 if over == "image" else (0, 2)
        centres = [y.mean(axes, keepdims=True) for y in (a, b)]
        live = np.all(
            [y.std(axes) > 2**-20 * abs(m.squeeze(axes)) for y, m in zip((a, b), centres, strict=True)], 0
        )
        a, b = (y - m for y, m in zip((a, b), centres, strict=True))
        with np.errstate(invalid="ignore", divide="ignore"):
            r = (a * b).sum(axes) / np.sqrt((a * a).sum(axes) * (b * b).sum(axes))
            r = r.mean(0, where=live) if over == "image" else r.clip(0)
        if not live.any():
            with pytest.raises(eq.UserError, match="no channel varies over the images, from layer between on"):
                eq.measure(network, x, eq.rotations(180), ["between"], over=over)
            continue
        row = eq.measure(network, x, eq.rotations(180), ["between"], over=over, scores="invariance").iloc[0]
        alive = live.any(0) if over == "image" else live
        terms = 144 if over == "image" else 20 * 144  # of the sum that is a similarity
        assert row.value == pytest.approx(r[alive].clip(0).mean(), abs=rounding(terms))
        assert row.live == pytest.approx(live.mean())


class Sometimes(Net):
    """Its second convolution sees small batches alone."""

    def forward(self, x):
        y = self.first(x).relu()
        return self.head((y if len(x) > 9 else y + 0 * self.second(y)).mean((2, 3)))


def test_a_layer_that_some_images_do_not_reach_has_a_count_of_its_own():
    metric, alone = (Equivariance(Sometimes(), TURNS, ["first", "second"]) for _ in range(2))
    metric.update(images(6))  # and their copies
    for each in (metric, alone):
        each.update(images(2, 1))
    table, expected = metric.compute(), alone.compute()
    assert table.groupby("layer").images.unique().map(list).to_dict() == {"first": [8], "second": [2]}
    second = [each[each.layer == "second"].value.tolist() for each in (table, expected)]
    assert second[0] == pytest.approx(second[1], abs=rounding(64))


def test_labels_of_some_batches_and_a_single_logit():
    network, x = Net(), images(9)
    right = network(x).argmax(1)
    wrong = (right + (torch.arange(9) == 8)) % 3
    assert eq.measure(network, [(x, wrong)], TURNS).accuracy.iloc[0] == pytest.approx(8 / 9)
    assert eq.measure(network, [(x[:4], right[:4]), x[4:]], TURNS).accuracy.iloc[0] == 1
    one = Net(classes=1)
    one.head.bias.data -= one(x).median()
    signs = [one(each)[:, 0] > 0 for each in (x, x.rot90(1, (2, 3)))]
    expected = (signs[0] == signs[1]).float().mean().item()
    table = eq.measure(one, x, TURNS)
    assert expected < 1
    assert table[(table.layer == "final") & (table.element == 90)].agreement.iloc[0] == pytest.approx(expected)


def test_metrics_of_something_else_are_not_merged():
    def metric(transforms=TURNS, model=None, seed=0, **named):
        found = Equivariance(model or Net(), transforms, **named)
        found.update(images(6, seed))
        return found

    other = Net()
    other.first.weight.data *= 1.5
    for wrong in (
        metric(eq.rotations([180]), seed=1),
        metric(similarity="cosine", seed=1),
        metric(layers=["first"], seed=1),
        metric(model=other, seed=1),
        metric(over="dataset", seed=1),
        metric(),
    ):
        with pytest.raises(eq.UserError, match="merge"):
            metric().merge_state(wrong)
    merged = metric()
    merged.merge_state(metric(seed=1))
    assert merged.images == 12


def test_two_threads_measure_one_network():
    network, found = Net(), []
    expected = eq.measure(network, images(12), TURNS, batch_size=4).value
    threads = [
        threading.Thread(target=lambda: found.append(eq.measure(network, images(12), TURNS, batch_size=4).value))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all((each - expected).abs().max() < 1e-6 for each in found)


def test_a_metric_is_pickled_with_its_statistics():
    metric = Equivariance(Net(), TURNS, over=["image", "dataset"])
    again = pickle.loads(pickle.dumps(metric))
    for each in (metric, again):
        each.update(images(5))
    later = pickle.loads(pickle.dumps(again))
    for each in (metric, later):
        each.update(images(4, 1))
    assert (metric.compute().value - later.compute().value).abs().max() < 1e-6
