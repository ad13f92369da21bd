"""The third score: against NumPy's least squares, and on maps and networks where the right answer is known."""

import numpy as np
import pytest
import torch

from equivariance.errors import UserError
from equivariance.metric.equivariance import Equivariance
from equivariance.metric.measure import measure
from equivariance.names import NESTED
from equivariance.statistics.linear import RIDGES, Products, linear, standardised
from equivariance.statistics.moments import Moments
from equivariance.statistics.over_dataset import DatasetStatistics
from equivariance.statistics.over_images import ImageStatistics
from equivariance.transforms.sets import rotations
from tests.metric.test_measure import Plain, random_filters
from tests.statistics.test_statistics import maps, some_constant

KINDS = (ImageStatistics, DatasetStatistics)


def scored(a, b, kind=DatasetStatistics, blocks=5):
    """The score of maps (n, c, h, w) in so many equal blocks, and the sums of all of them."""
    parts, whole = [], kind(a.shape[1])
    for cut in zip(a.chunk(blocks), b.chunk(blocks), strict=True):
        sums = [kind(a.shape[1]), kind(a.shape[1], chance=True), Moments(a.shape[1])]
        batch = [kind(a.shape[1]), kind(a.shape[1], chance=True), Moments(a.shape[1])]
        left, right = batch[0].side(cut[0], False), batch[0].side(cut[1], True)
        for to, one, pair in zip(
            sums, batch, ((left, right), (left, right.mismatched), (right, right)), strict=True
        ):
            one.add(*pair)
            to.merge(one)
        whole.merge(sums[0])
        parts.append(sums)
    products = [Products.of(*sums, whole.centre()) for sums in parts]
    chosen = ~whole.dead(), whole.sides(whole.constant())[1]
    return linear(products, *chosen), in_sample(products, *chosen), whole


def in_sample(parts, live, constant):
    """The score of predictions that are fitted and judged on the same images, without a ridge."""
    whole, channels = standardised(parts, constant)[1], len(live)
    targets = whole.targets[:, :channels]
    maps = torch.linalg.pinv(whole.own, rtol=1e-10, hermitian=True) @ targets
    return ((maps * targets).sum(0) / whole.squares[:channels])[live].clamp(0, 1).sqrt().mean().item()


def rows_of(x, kind):
    """Maps as (n, p, c) in float64: standardised image by image, or less their means."""
    x = x.double().numpy().reshape(len(x), x.shape[1], -1).swapaxes(1, 2)
    if kind is DatasetStatistics:
        return x - x.mean((0, 1))
    x = x - x.mean(1, keepdims=True)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm > 1e-9)


def numpy_linear(a, b, kind, blocks):
    """NumPy's least squares, fitted on all blocks but one and judged on that one."""
    a, b = rows_of(a, kind), rows_of(b, kind)
    errors = 0
    for held_out in np.array_split(np.arange(len(a)), blocks):
        rest = np.setdiff1d(np.arange(len(a)), held_out)
        x, y = (each.reshape(-1, each.shape[2]) for each in (b[rest], a[rest]))
        weights = np.linalg.lstsq(x, y, rcond=None)[0]
        errors = errors + ((a[held_out] - b[held_out] @ weights) ** 2).sum((0, 1))
    r2 = 1 - errors / (a**2).sum((0, 1))
    return np.sqrt(np.maximum(r2, 0)).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_the_score_is_numpys_least_squares(kind, mean, monkeypatch):
    monkeypatch.setattr("equivariance.statistics.linear.RIDGES", RIDGES[:1])
    a, b = maps(20, mean=mean)
    found, _, _ = scored(a, b, kind)
    assert found.value == pytest.approx(numpy_linear(a, b, kind, 5), abs=1e-5)
    a, b = some_constant(20, mean)
    found, _, _ = scored(a, b, kind)
    assert found.value == pytest.approx(numpy_linear(a, b, kind, 5), abs=1e-5)


def test_a_larger_ridge_is_chosen_where_it_predicts_better():
    """Six positions an image and 40 channels: least squares alone predicts worse than nothing."""
    generator = torch.Generator().manual_seed(0)
    b = torch.randn(20, 40, 3, 1, generator=generator, dtype=torch.float64)
    a = b.mean(1, keepdim=True) * 6 + torch.randn(20, 40, 3, 1, generator=generator, dtype=torch.float64)
    found, _, _ = scored(a, b)
    assert found.value > numpy_linear(a, b, DatasetStatistics, 5) + 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_channels_keep_linear_and_lose_equivariance(kind):
    generator = torch.Generator().manual_seed(0)
    b = torch.randn(40, 16, 6, 6, generator=generator, dtype=torch.float64)
    mixing = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64))[0]
    a = torch.einsum("cd,ndhw->nchw", mixing, b)
    found, sample, whole = scored(a, b, kind)
    if kind is DatasetStatistics:  # within each image, the deviations of the channels differ
        assert found.value == pytest.approx(1, abs=1e-9) and sample == pytest.approx(1, abs=1e-9)
    assert found.value > 0.97 and whole.values()["equivariance"] < 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_no_linear_score(kind):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 60, 8, 6, 6, generator=generator, dtype=torch.float64)
    found, sample, _ = scored(a, b, kind)
    assert found.value < 0.03 and found.chance < 0.03
    assert sample > found.value + 0.02  # which is why it is judged on other images
    half = max(found.without) - min(found.without)
    assert half < 0.05 and len(found.without) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_the_three_are_nested_on_the_same_images(kind):
    for seed in range(10):
        a, b = maps(6, seed=seed)
        _, sample, whole = scored(a, -b if seed % 2 else b, kind, 3)
        scores = whole.values()
        assert scores["invariance"] <= scores["equivariance"] <= sample + 1e-12


def test_chance_predicts_from_other_images():
    """Images 2i and 2i + 1 that share all their positions: the mismatch predicts as well as the image itself."""
    a, b = maps(20)
    twins = torch.arange(20) // 2 * 2
    found, _, _ = scored(a[twins], b[twins])
    assert found.chance == pytest.approx(found.value, abs=1e-9) and found.value > 0.5
    alone, _, _ = scored(a, b)
    assert alone.chance < 0.1


def test_without_enough_blocks_or_live_channels_there_is_no_score():
    a, b = maps(6)
    assert np.isnan(scored(a, b, blocks=1)[0].value)
    assert np.isnan(scored(a * 0, b * 0, blocks=3)[0].value)


@pytest.fixture
def images():
    return torch.rand(24, 1, 12, 12, generator=torch.Generator().manual_seed(0)).double()


TURNS = rotations([90, 180])


def regular(mixing=None):
    """One filter in all four turns, a regular representation of them, and the same after a mixing of channels."""
    weight = random_filters(1, 1, 3, 3)
    turns = torch.cat([weight.rot90(turn, (2, 3)) for turn in range(4)])
    network = Plain(turns, *([] if mixing is None else [mixing[:, :, None, None]]))
    for block in network.blocks:
        block[1] = torch.nn.Identity()
    return network.eval()


def table_of(network, images, **arguments):
    table = measure(network, images, TURNS, ["blocks.*"], scores=NESTED, blocks=6, **arguments)
    return table.set_index(["layer", "element", "score"]).value


def test_a_regular_representation_of_the_turns_has_one_in_both(images):
    for over in ("image", "dataset"):
        found = table_of(regular(), images, over=over)
        assert found["blocks.0", 90, "equivariance"] == pytest.approx(1, abs=1e-9)
        assert found["blocks.0", 90, "linear"] == pytest.approx(1, abs=1e-9)
        assert found["blocks.0", 90, "invariance"] < 0.9


def test_a_network_whose_channels_are_mixed_keeps_linear(images):
    mixing = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    found = table_of(regular(mixing), images, over="dataset")
    assert found["blocks.1", 90, "linear"] == pytest.approx(1, abs=1e-9)
    assert found["blocks.1", 90, "equivariance"] < 0.95


def test_batches_merging_and_resuming_change_no_score(images):
    def metric():
        network = Plain(random_filters(5, 1, 3, 3), random_filters(6, 5, 3, 3)).eval()
        return Equivariance(network, TURNS, scores=NESTED, over=["image", "dataset"], blocks=4)

    whole, parts = metric(), metric()
    whole.update(images)
    for batch in images[:14].split(5):
        parts.update(batch)
    parts.compute()
    saved = parts.state_dict()
    again, rest = metric(), metric()
    again.load_state_dict(saved)
    rest.reset(14)
    rest.update(images[14:])
    again.merge_state(rest)
    one, other = whole.compute(), again.compute()
    for column in ("value", "chance", "low", "high", "agreement", "agreement_worst"):
        np.testing.assert_allclose(one[column], other[column], atol=1e-9)
    assert one[one.score == "linear"].value.notna().all()


def test_where_there_is_no_linear_score_it_is_nan_or_refused(images, monkeypatch):
    monkeypatch.setattr("equivariance.statistics.linear.MOST_CHANNELS", 5)
    metric = Equivariance(Plain(random_filters(6, 1, 3, 3)).eval(), TURNS, scores=NESTED)
    metric.update(images)
    table = metric.compute()
    assert metric.too_wide == ["block0", "pool"] and table[table.score == "linear"].value.isna().all()
    with pytest.raises(UserError, match="linear needs over=image or dataset, this is image_max"):
        Equivariance(metric.model, TURNS, scores=NESTED, over="image_max")
    with pytest.raises(UserError, match="scores=affine: choose invariance, equivariance, linear"):
        Equivariance(metric.model, TURNS, scores=["affine"])
