"""Measurements that end when the brackets are narrow."""

import functools

import pytest
import torch
from torch import nn

import equivariance as eq
from equivariance.errors import UserError
from equivariance.metric.equivariance import Equivariance
from equivariance.metric.precision import Precision
from equivariance.statistics.intervals import half_width


class Network(nn.Module):
    """Four blocks, pooling, logits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(i, 6, 3, padding=1), nn.ReLU()) for i in (3, 6, 6, 6))
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        return self.fc(self.pool(self.blocks(x)))


TURNS = eq.rotations([90, 180])
IMAGES = torch.randn(300, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def measured(images, size=50, until=None, parts=None):
    """A metric of as many of these images as are needed, and why it ended."""
    metric, precision = Equivariance(Network(), TURNS), Precision(until, parts)
    for batch, labels in precision.enough(((batch, None) for batch in images.split(size)), metric):
        metric.update(batch, labels)
    return metric, precision.ended(metric)


@functools.cache
def of_first(images):
    """A metric of so many images, to be read only."""
    return measured(IMAGES[:images])[0]


def test_the_bracket_of_a_part_is_that_of_its_mean():
    """By the formula, from metrics that have never seen the block that is left out."""
    metric = of_first(160)
    part = metric.brackets(["early"]).set_index("score").loc["invariance"]

    def mean(images):
        once = Equivariance(Network(), TURNS, blocks=1)
        once.update(images)
        rows = once.compute()
        return rows[(rows.part == "early") & (rows.score == "invariance")].value.mean()

    size = metric.blocks.size
    cuts = [slice(start, start + size) for start in range(0, 160, size)]
    without = [mean(torch.cat([IMAGES[: cut.start], IMAGES[cut.stop : 160]])) for cut in cuts]
    half = half_width(mean(IMAGES[:160]), without, [size] * len(cuts))
    assert part.value == pytest.approx(mean(IMAGES[:160]), rel=1e-6)
    assert part.high - part.value == pytest.approx(half, rel=1e-3)  # of differences of float32 correlations
    layers = metric.compute().query("part == 'early' and score == 'invariance'")
    assert half < (layers.high - layers.value).mean()  # errors of layers and elements partly cancel


@pytest.mark.parametrize("size", [7, 64, 300])
def test_it_ends_at_the_first_look_that_is_narrow_whatever_the_batches(size):
    widths = {}
    for images in (64, 128, 256):
        found = of_first(images).brackets(["early", "middle", "late"], 0.975)
        widths[images] = (found.high - found.low).max()
    assert widths[64] > widths[128]  # so that the second look is the one
    metric, ended = measured(IMAGES, size, until=float(widths[128]) * 1.0001)  # other batches round otherwise
    assert metric.images == 128 and "narrow enough" in ended
    same = of_first(128)
    assert metric.compute().value.tolist() == pytest.approx(same.compute().value.tolist(), rel=1e-5, nan_ok=True)


def test_all_images_are_measured_where_it_is_never_narrow_and_the_wide_parts_are_named():
    metric, ended = measured(IMAGES, until=1e-6)
    assert metric.images == 300 and "no more images; brackets -; wider: early 0." in ended
    widths = metric.brackets(["pool"], 0.975).eval("high - low")
    assert f"pool {widths.max():.3f}" in ended


def test_only_the_parts_that_are_asked_for_are_waited_for():
    metric, ended = measured(IMAGES, until=0.999, parts="early")
    assert metric.images == 64 and ended.startswith("until 0.999 of early: narrow enough")
    found = metric.brackets(level=0.975).assign(width=lambda each: each.high - each.low).groupby("part").width.max()
    narrowest, widest = found.idxmin(), found.idxmax()
    between = float(found[[narrowest, widest]].mean())
    assert measured(IMAGES, until=between, parts=[narrowest])[0].images == 64
    assert measured(IMAGES, until=between, parts=[narrowest, widest])[0].images > 64


@pytest.mark.parametrize("stopped", [40, 64, 100, 128])
def test_a_measurement_that_was_interrupted_ends_at_the_same_number_of_images(stopped):
    found = of_first(128).brackets(["early", "middle", "late"], 0.975)
    precision = Precision((found.high - found.low).max() * 1.0001)
    before, _ = measured(IMAGES[:stopped])
    metric = Equivariance(Network(), TURNS)
    metric.load_state_dict(before.state_dict())
    for images, labels in precision.enough([(IMAGES[stopped:], None)], metric):
        metric.update(images, labels)
    assert metric.images == 128


def test_the_table_says_how_it_ended_and_its_intervals_allow_for_the_looks():
    with pytest.warns(UserWarning, match="images"):
        table = eq.measure(Network(), IMAGES, TURNS, until=0.5, until_parts=["early"])
        plain = eq.measure(Network(), IMAGES[:64], TURNS)
    assert table.images.max() == 64 and "ended" not in plain
    assert (table.high - table.low).mean() > (plain.high - plain.low).mean()
    assert table.ended.iloc[0] in eq.summary(table)
    assert "until" not in eq.summary(plain)


def test_labels_are_cut_with_their_images():
    labels = torch.arange(300) % 5
    table = eq.measure(Network(), [(IMAGES, labels)], TURNS, until=0.99)
    same = eq.measure(Network(), [(IMAGES[:64], labels[:64])], TURNS)
    assert table.accuracy.iloc[0] == same.accuracy.iloc[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"until": 0}, "until=0: needs the width"),
        ({"until": True}, "until=True: needs the width"),
        ({"until": "0.02"}, "until=0.02: needs the width"),
        ({"until": 0.02, "until_parts": ["first"]}, "choose early, middle, late, pool, final"),
        ({"until": 0.02, "until_parts": []}, "choose early"),
        ({"until_parts": ["late"]}, "needs until"),
        ({"until": 0.02, "blocks": 1}, "at least two blocks"),
        ({"until": 0.02, "layers": ["fc"]}, "no layer with a score is of these, but of final"),
    ],
)
def test_what_cannot_be_waited_for_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        eq.measure(Network(), IMAGES, TURNS, **arguments)
