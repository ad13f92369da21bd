"""The statistics against NumPy in float64, and the properties that any correct ones have."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from equivariance.scores.per_image import PerImageStatistics
from equivariance.scores.statistics import (
    PairStatistics,
    chance_channels,
    equivariance,
    invariance,
    leave_one_out,
    merged,
    neighbours,
)


def maps(images=12, channels=5, side=4, seed=0, mean=0.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, images, channels, side, side, generator=generator, dtype=dtype)
    return a + b.roll(1, 1) + mean, b + mean  # channel c of a is half channel c - 1 of b


def batches(count, size):
    """Slices of an even number of images; a single left-over goes along with the last."""
    cuts = [*range(0, count - 1, max(2, size // 2 * 2)), count]
    return [slice(*cut) for cut in pairwise(cuts)]


def stream(a, b, size):
    statistics = PairStatistics(a.shape[1])
    for part in batches(len(a), size):
        statistics.update(a[part], b[part])
    return statistics


def numpy_correlation(a, b):
    """Pooled over images and positions, in float64."""
    flat = [x.double().numpy().swapaxes(0, 1).reshape(x.shape[1], -1) for x in (a, b)]
    channels = a.shape[1]
    return np.corrcoef(*flat)[:channels, channels:]


@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_pooled_correlation_is_numpys_in_float64(mean, dtype, digits):
    a, b = maps(images=200, mean=mean, dtype=dtype)
    r = stream(a, b, size=32).correlation().numpy()
    np.testing.assert_allclose(r, numpy_correlation(a, b), atol=digits)


def test_scores_follow_their_equations():
    a, b = maps()
    r = numpy_correlation(a, b)
    ours = stream(a, b, 4).correlation()
    assert invariance(ours) == pytest.approx(np.maximum(np.diag(r), 0).mean(), abs=1e-12)
    assert equivariance(ours) == pytest.approx(np.maximum(r, 0).max(1).mean(), abs=1e-12)


def test_equivariance_takes_the_maximum_over_channels_of_the_original():
    b = torch.randn(50, 2, 3, 3, dtype=torch.float64)
    a = b[:, [0, 0]]  # both channels of the copy match channel 0 of the original; none matches channel 1
    r = stream(a, b, 10).correlation()
    assert equivariance(r) == pytest.approx(1, abs=1e-12)
    assert equivariance(r.T) < 0.6


@pytest.mark.parametrize("images", [12, 13])
@pytest.mark.parametrize("size", [2, 3, 4, 5, 100])
def test_batch_size_has_no_influence(images, size):
    a, b = maps(images)
    whole, parts = stream(a, b, 1000), stream(a, b, size)
    assert parts.count == whole.count == images * 16
    for chance in (False, True):
        torch.testing.assert_close(parts.correlation(chance), whole.correlation(chance), atol=1e-12, rtol=0)


def test_merging_two_halves_is_the_whole():
    a, b = maps(20, mean=50.0)
    first, second = stream(a[:8], b[:8], 4), stream(a[8:], b[8:], 4)
    first.merge(second)
    first.merge(PairStatistics(a.shape[1]))  # an empty part changes nothing
    torch.testing.assert_close(first.correlation(), stream(a, b, 20).correlation(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("images", [8, 7])
def test_chance_pairs_every_image_with_another_one(images):
    """Neighbours; of the last three of an odd number each with both others, so that all count equally."""
    a, b = maps(images)
    first, second = [1, 0, 3, 2, 5, 6, 4], [1, 0, 3, 2, 6, 4, 5]
    order = [first, second] if images == 7 else [[1, 0, 3, 2, 5, 4, 7, 6]]
    expected = numpy_correlation(torch.cat([a for _ in order]), torch.cat([b[partner] for partner in order]))
    np.testing.assert_allclose(stream(a, b, 4).correlation(chance=True), expected, atol=1e-12)


def test_chance_of_a_wide_layer_is_that_of_evenly_spaced_channels():
    a, b = maps(40, channels=150)
    rows = chance_channels(150)
    assert len(rows) == 64 and rows[0] == 0 and set(rows.diff().tolist()) == {2, 3}
    expected = numpy_correlation(a, b[torch.arange(40) ^ 1])[rows]
    statistics = stream(a, b, 16)
    np.testing.assert_allclose(statistics.correlation(chance=True), expected, atol=1e-12)
    scores = statistics.scores("pearson")
    assert scores["invariance"][1] == pytest.approx(np.maximum(expected[range(64), rows], 0).mean(), abs=1e-12)
    assert scores["equivariance"][1] == pytest.approx(np.maximum(expected, 0).max(1).mean(), abs=1e-12)


def test_leaving_out_one_part_is_merging_all_others():
    a, b = maps(14)
    parts = []
    for part in batches(14, 4):
        parts.append(PairStatistics(a.shape[1]))
        parts[-1].update(a[part], b[part])
    left_out = list(leave_one_out(parts))
    assert len(left_out) == len(parts) and list(leave_one_out(parts[:1])) == []
    for index, others in enumerate(left_out):
        expected = merged(parts[:index] + parts[index + 1 :])
        assert others.count == expected.count
        torch.testing.assert_close(others.correlation(), expected.correlation(), atol=1e-12, rtol=0)


def test_each_image_counts_once_and_never_beside_itself():
    for images in range(2, 20):
        counts = torch.zeros(images)
        for part, weight in neighbours(slice(0, images)):
            chosen = torch.arange(images)[part]
            assert (chosen[::2] != chosen[1::2]).all()
            counts.index_add_(0, chosen, torch.full([len(chosen)], weight))
        assert (counts == 1).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1000.1])
def test_dead_channels_are_left_out_and_counted(value):
    a, b = maps()
    alive = stream(a[:, :4], b[:, :4], 4)
    a[:, 4] = b[:, 4] = value
    with_dead = stream(a, b, 4)
    assert with_dead.dead().tolist() == [False] * 4 + [True]
    for score in (invariance, equivariance):
        assert score(with_dead.correlation()) == pytest.approx(score(alive.correlation()), abs=1e-12)


def test_a_layer_of_dead_channels_has_no_score():
    zeros = torch.zeros(4, 3, 2, 2)
    r = stream(zeros, zeros, 4).correlation()
    assert np.isnan(invariance(r)) and np.isnan(equivariance(r))


def test_equivariance_is_never_smaller_than_invariance():
    for seed in range(20):
        r = stream(*maps(4, seed=seed), 4).correlation()
        assert equivariance(r) >= invariance(r)


def test_identical_maps_reach_exactly_one():
    a, _ = maps()
    r = stream(a, a, 4).correlation()
    assert invariance(r) == pytest.approx(1, abs=1e-12) and r.max() <= 1


@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_cosine_is_numpys(mean):
    a, b = maps(mean=mean)
    flat = [x.numpy().swapaxes(0, 1).reshape(x.shape[1], -1) for x in (a, b)]
    norms = [np.linalg.norm(x, axis=1) for x in flat]
    expected = flat[0] @ flat[1].T / np.outer(*norms)
    np.testing.assert_allclose(stream(a, b, 4).cosine(), expected, atol=1e-12)


def test_a_shift_of_the_values_changes_cosine_and_not_correlation():
    """M2 of the papers: two random maps, one pair with 0.5 added."""
    a, b = maps()
    before, after = stream(a, b, 4), stream(a + 0.5, b + 0.5, 4)
    torch.testing.assert_close(after.correlation(), before.correlation(), atol=1e-12, rtol=0)
    assert (after.cosine() - before.cosine()).abs().min() > 0.01


@pytest.mark.parametrize("size", [2, 5, 100])
def test_per_image_is_the_mean_of_numpys_image_by_image(size):
    a, b = maps(9)
    a[3, 2] = 7.0  # constant in one image: does not count there
    statistics = PerImageStatistics(5)
    for part in batches(9, size):
        statistics.update(a[part], b[part])
    own, best = [], []
    for x, y in zip(a.numpy(), b.numpy(), strict=True):
        with np.errstate(all="ignore"):
            r = np.corrcoef(x.reshape(5, -1), y.reshape(5, -1))[:5, 5:]
        own += [max(r[c, c], 0) for c in range(5) if not np.isnan(r[c, c])]
        best += [max(np.nanmax(r[c]), 0) for c in range(5) if not np.isnan(r[c]).all()]
    scores = statistics.scores("per_image")
    assert scores["invariance"][0] == pytest.approx(np.mean(own), abs=1e-12)
    assert scores["equivariance"][0] == pytest.approx(np.mean(best), abs=1e-12)
    halves = [PerImageStatistics(5), PerImageStatistics(5)]
    halves[0].update(a[:4], b[:4])
    halves[1].update(a[4:], b[4:])
    halves[0].merge(halves[1])
    assert halves[0].scores("per_image")["equivariance"][0] == pytest.approx(np.mean(best), abs=1e-12)


def test_activation_is_the_mean_of_the_original_maps():
    a, b = maps(mean=2.0)
    assert stream(a, b, 4).activation() == pytest.approx(b.mean().item(), abs=1e-12)
