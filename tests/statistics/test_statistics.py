"""The statistics against NumPy in float64, and the properties that any correct ones have."""

import numpy as np
import pytest
import torch

from equivariance.metric.sums import READINGS
from equivariance.statistics.formulas import equivariance, invariance
from equivariance.statistics.image_blocks import CHANCE, TRUE, Blocks
from equivariance.statistics.intervals import cross_fitted, half_width
from equivariance.statistics.moments import chance_channels
from equivariance.statistics.over_dataset import DatasetStatistics
from equivariance.statistics.over_images import ImageStatistics, MaximumImageStatistics, ReluImageStatistics
from tests.conftest import rounding


def maps(images=12, channels=5, side=4, seed=0, mean=0.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, images, channels, side, side, generator=generator, dtype=dtype)
    return a + b.roll(1, 1) + mean, b + mean  # channel c of a is half channel c - 1 of b


def stream(a, b, size, kind=DatasetStatistics, similarity="pearson", pairs=TRUE):
    """The sums of true pairs, or of pairs of different images, of maps that come in batches of so many."""

    def empty(key):
        return kind(a.shape[1], similarity=similarity, chance=key == CHANCE)

    blocks, held, first = Blocks(empty, 3), False, 0
    for more in a.split(size):
        start, stop = first - held, first + len(more)
        for index, part, keys in blocks.parts(stop - start, held):
            for key in keys:
                sums = kind(b.shape[1], similarity=similarity, chance=key == CHANCE)
                left, right = sums.side(a[start:stop][part], False), sums.side(b[start:stop][part], True)
                sums.add(left, right.mismatched if key == CHANCE else right)
                blocks.add(index, {key: sums})
        blocks.counted(a[start:stop], held)
        first, held = stop, blocks.held is not None
    return blocks.whole(pairs)


def numpy_correlation(a, b):
    """Pooled over images and positions, in float64."""
    flat = [x.double().numpy().swapaxes(0, 1).reshape(x.shape[1], -1) for x in (a, b)]
    channels = a.shape[1]
    return np.corrcoef(*flat)[:channels, channels:]


@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, rounding(32 * 16)), (torch.float64, 1e-12)])
def test_pooled_correlation_is_numpys_in_float64(mean, dtype, digits):
    a, b = maps(images=200, mean=mean, dtype=dtype)
    r = stream(a, b, size=32).similarities().numpy()
    np.testing.assert_allclose(r, numpy_correlation(a, b), atol=digits)


def test_scores_follow_their_equations():
    a, b = maps()
    r = numpy_correlation(a, b)
    ours = stream(a, b, 4).similarities()
    assert invariance(ours) == pytest.approx(np.maximum(np.diag(r), 0).mean(), abs=1e-12)
    assert equivariance(ours) == pytest.approx(np.maximum(r, 0).max(1).mean(), abs=1e-12)


def test_equivariance_takes_the_maximum_over_channels_of_the_original():
    b = torch.randn(50, 2, 3, 3, dtype=torch.float64)
    a = b[:, [0, 0]]  # both channels of the copy match channel 0 of the original; none matches channel 1
    r = stream(a, b, 10).similarities()
    assert equivariance(r) == pytest.approx(1, abs=1e-12)
    assert equivariance(r.T) < 0.6


@pytest.mark.parametrize("images", [12, 13])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100])
def test_batch_size_has_no_influence(images, size):
    a, b = maps(images)
    for pairs, count in ((TRUE, images), (CHANCE, images // 2 * 2)):
        whole, parts = stream(a, b, 1000, pairs=pairs), stream(a, b, size, pairs=pairs)
        assert parts.count == whole.count == count * 16 and parts.images == count
        torch.testing.assert_close(parts.similarities(), whole.similarities(), atol=1e-12, rtol=0)


def test_merging_two_halves_is_the_whole():
    a, b = maps(20, mean=50.0)
    first, second = stream(a[:8], b[:8], 4), stream(a[8:], b[8:], 4)
    first.merge(second)
    first.merge(DatasetStatistics(a.shape[1]))  # an empty part changes nothing
    torch.testing.assert_close(first.similarities(), stream(a, b, 20).similarities(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("images", [8, 7])
def test_chance_pairs_every_image_with_its_neighbour(images):
    """Of an odd number the last one has none."""
    a, b = maps(images)
    order = torch.arange(images // 2 * 2)
    expected = numpy_correlation(a[order], b[order ^ 1])
    np.testing.assert_allclose(stream(a, b, 4, pairs=CHANCE).similarities(), expected, atol=1e-12)


def test_chance_of_a_wide_layer_is_that_of_evenly_spaced_channels():
    a, b = maps(40, channels=150)
    rows = chance_channels(150)
    assert len(rows) == 64 and rows[0] == 0 and set(rows.diff().tolist()) == {2, 3}
    expected = numpy_correlation(a, b[torch.arange(40) ^ 1])[rows]
    statistics = stream(a, b, 16, pairs=CHANCE)
    np.testing.assert_allclose(statistics.similarities(), expected, atol=1e-12)
    scores = statistics.values()
    assert scores["invariance"] == pytest.approx(np.maximum(expected[range(64), rows], 0).mean(), abs=1e-12)
    assert scores["equivariance"] == pytest.approx(np.maximum(expected, 0).max(1).mean(), abs=1e-12)
    within = stream(a, b, 16, MaximumImageStatistics, pairs=CHANCE).values()
    r = np.maximum(numpy_by_image(a, b[torch.arange(40) ^ 1])[:, rows], 0)
    assert within["invariance"] == pytest.approx(r[:, range(64), rows].mean(), abs=1e-12)
    assert within["equivariance"] == pytest.approx(r.max(2).mean(), abs=1e-12)


@pytest.mark.parametrize("kind", READINGS.values())
def test_leaving_out_one_part_is_merging_all_others(kind):
    a, b = maps(14)
    a[:, 3], a[0, 3] = 0.5, b[0, 3]  # alive in the first part only
    parts = [
        stream(a[part], b[part], 100, kind) for part in (slice(0, 4), slice(4, 8), slice(8, 12), slice(12, 14))
    ]
    whole = kind(5)
    for part in parts:
        whole.merge(part)
    for index, part in enumerate(parts):
        expected = kind(5)
        for other in parts[:index] + parts[index + 1 :]:
            expected.merge(other)
        others = whole.without(part)
        assert others.images == expected.images
        torch.testing.assert_close(
            others.similarities(), expected.similarities(), atol=1e-10, rtol=0, equal_nan=True
        )


@pytest.mark.parametrize("start", [0, 1, 6])
def test_every_image_enters_once_and_meets_its_neighbour(start):
    """However a stream is cut: all images in the true pairs, 2i with 2i + 1 in the other ones."""
    generator = np.random.default_rng(start)
    for _ in range(200):
        count = int(generator.integers(1, 40))
        blocks, at = Blocks(lambda key: None, 3, start), start
        true, chance = [], []
        while at < start + count:
            stop = min(start + count, at + int(generator.integers(1, 9)))
            again = blocks.held is not None
            batch = torch.arange(at - again, stop)
            for index, part, pairs in blocks.parts(len(batch), again):
                assert set((batch[part] // blocks.size).tolist()) == {index}
                true += batch[part].tolist() if TRUE in pairs else []
                chance += batch[part].tolist() if CHANCE in pairs else []
            blocks.counted(batch, again)
            at = stop
        assert true == list(range(start, start + count)) and blocks.images == count
        assert chance == list(range(start + start % 2, (start + count) // 2 * 2))
        assert -(-(start + count) // blocks.size) <= 3


@pytest.mark.parametrize("value", [0.0, 0.1, 1000.1])
def test_dead_channels_are_left_out_and_counted(value):
    a, b = maps()
    alive = stream(a[:, :4], b[:, :4], 4)
    a[:, 4] = b[:, 4] = value
    with_dead = stream(a, b, 4)
    assert with_dead.dead().tolist() == [False] * 4 + [True]
    for score in (invariance, equivariance):
        assert score(with_dead.similarities()) == pytest.approx(score(alive.similarities()), abs=1e-12)


def test_a_layer_of_dead_channels_has_no_score():
    zeros = torch.zeros(4, 3, 2, 2)
    r = stream(zeros, zeros, 4).similarities()
    assert np.isnan(invariance(r)) and np.isnan(equivariance(r))


def test_equivariance_is_never_smaller_than_invariance():
    for seed in range(20):
        r = stream(*maps(4, seed=seed), 4).similarities()
        assert equivariance(r) >= invariance(r)


def test_identical_maps_reach_exactly_one():
    a, _ = maps()
    r = stream(a, a, 4).similarities()
    assert invariance(r) == pytest.approx(1, abs=1e-12) and r.max() <= 1


@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_cosine_over_the_data_set_is_numpys(mean):
    a, b = maps(mean=mean)
    flat = [x.numpy().swapaxes(0, 1).reshape(x.shape[1], -1) for x in (a, b)]
    norms = [np.linalg.norm(x, axis=1) for x in flat]
    expected = flat[0] @ flat[1].T / np.outer(*norms)
    np.testing.assert_allclose(stream(a, b, 4, similarity="cosine").similarities(), expected, atol=1e-12)


def test_a_shift_of_the_values_changes_cosine_and_not_correlation():
    """M2 of the papers: two random maps, one pair with 0.5 added."""
    a, b = maps()
    for kind in (ImageStatistics, DatasetStatistics):
        for similarity in ("pearson", "cosine"):
            before = stream(a, b, 4, kind, similarity).similarities()
            after = stream(a + 0.5, b + 0.5, 4, kind, similarity).similarities()
            if similarity == "pearson":
                torch.testing.assert_close(after, before, atol=1e-12, rtol=0)
            else:
                assert (after - before).abs().median() > 0.01


def numpy_by_image(a, b):
    """r (images, c, c) within each image, in float64; NaN where a channel is constant."""
    with np.errstate(all="ignore"):
        both = [
            np.corrcoef(*(x.double().numpy().reshape(len(x), -1) for x in pair)) for pair in zip(a, b, strict=True)
        ]
    channels = a.shape[1]
    return np.stack([r[:channels, channels:] for r in both])


def some_constant(images, mean=0.0, dtype=torch.float64):
    """Maps with channels that are constant within some images, on one side or on both."""
    a, b = maps(images, mean=mean, dtype=dtype)
    a[3, 2], b[5, 1], a[6, 4], b[6, 4] = 7.0, 0.0, mean, 2.0
    return a, b


@pytest.mark.parametrize("size", [2, 5, 100])
@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, rounding(13 * 16)), (torch.float64, 1e-11)])
def test_image_readings_are_numpys_image_by_image(size, mean, dtype, digits):
    a, b = some_constant(13, mean, dtype)
    r = numpy_by_image(a, b)
    ours = stream(a, b, size, ImageStatistics)
    np.testing.assert_allclose(ours.similarities(), np.nanmean(r, 0), atol=digits)
    relu_first = stream(a, b, size, ReluImageStatistics).similarities()
    np.testing.assert_allclose(relu_first, np.nanmean(np.maximum(r, 0), 0), atol=digits)
    assert ours.live_share() == pytest.approx(1 - 3 / (13 * 5))
    others = numpy_by_image(a[:12], b[torch.arange(12) ^ 1])
    ours = stream(a, b, size, ImageStatistics, pairs=CHANCE)
    np.testing.assert_allclose(ours.similarities(), np.nanmean(others, 0), atol=digits)


@pytest.mark.parametrize("size", [2, 5, 100])
def test_the_maximum_within_each_image_is_numpys(size):
    a, b = some_constant(9)
    r = np.maximum(numpy_by_image(a, b), 0)
    own = r[:, range(5), range(5)]
    best = [np.nanmax(row) for image in r for row in image if not np.isnan(row).all()]
    scores = stream(a, b, size, MaximumImageStatistics).values()
    assert scores["invariance"] == pytest.approx(np.nanmean(own), abs=1e-12)
    assert scores["equivariance"] == pytest.approx(np.mean(best), abs=1e-12)


def test_cosine_within_each_image_is_numpys():
    a, b = maps(8, mean=2.0)
    x, y = (each.numpy().reshape(8, 5, -1) for each in (a, b))
    norms = np.linalg.norm(x, axis=2)[:, :, None] * np.linalg.norm(y, axis=2)[:, None]
    expected = (x @ y.swapaxes(1, 2) / norms).mean(0)
    np.testing.assert_allclose(stream(a, b, 3, ImageStatistics, "cosine").similarities(), expected, atol=1e-12)


@pytest.mark.parametrize("kind", READINGS.values())
def test_a_network_s_own_maps_stay_as_they_are(kind):
    a, b = maps(6, dtype=torch.float32)
    for maps_ in (a, b.contiguous(memory_format=torch.channels_last)):
        before = maps_.clone()
        for similarity in ("pearson", "cosine"):
            sums = kind(maps_.shape[1], similarity=similarity)
            sums.add(sums.side(maps_, False), sums.side(maps_, True))
        assert torch.equal(maps_, before)


@pytest.mark.parametrize("kind", [ImageStatistics, DatasetStatistics])
def test_cross_fitting_chooses_partners_on_other_images(kind):
    """Against the same in NumPy: for each part the partners of the others, and its own products with them."""
    a, b = maps(12)
    parts = [stream(a[cut], b[cut], 100, kind) for cut in (slice(0, 4), slice(4, 8), slice(8, 12))]
    whole = stream(a, b, 100, kind)
    held_out = [part.held_out(whole.without(part).similarities().nan_to_num(-2).argmax(1), whole) for part in parts]
    found = cross_fitted(whole, held_out)
    total = np.zeros(5)
    for cut in (slice(0, 4), slice(4, 8), slice(8, 12)):
        rest = [i for i in range(12) if not cut.start <= i < cut.stop]
        if kind is ImageStatistics:
            choice, own = numpy_by_image(a[rest], b[rest]).mean(0), numpy_by_image(a[cut], b[cut]).sum(0)
        else:
            choice = numpy_correlation(a[rest], b[rest])
            x, y = (each.numpy().swapaxes(0, 1).reshape(5, 12, -1) for each in (a, b))
            x, y = ((each - each.mean((1, 2), keepdims=True)) / each.std((1, 2), keepdims=True) for each in (x, y))
            own = x[:, cut].reshape(5, -1) @ y[:, cut].reshape(5, -1).T / 16
        total += own[range(5), choice.argmax(1)]
    assert found["equivariance"] == pytest.approx(max((total / 12).mean(), 0), abs=1e-12)
    assert found["invariance"] == whole.values()["invariance"]
    assert np.isnan(cross_fitted(whole, held_out[:1])["equivariance"])


def test_jackknife_is_the_standard_error_of_a_mean():
    """For a mean of blocks the jackknife's standard error is that of the mean itself; t(0.975, 4) = 2.776."""
    blocks = torch.tensor([1.0, 4.0, 2.0, 8.0, 5.0]).double()
    without = [((blocks.sum() - x) / 4).item() for x in blocks]
    expected = 2.7764451 * blocks.std().item() / 5**0.5
    assert half_width(blocks.mean().item(), without, [7] * 5) == pytest.approx(expected, rel=1e-6)
    assert np.isnan(half_width(0.5, [0.4], [7]))


def test_the_interval_of_unequal_blocks_covers_the_mean():
    """A mean over blocks of 8, 8, 8, 8, 8, 8 and 2 images of which each block has an effect of its own."""
    generator = np.random.default_rng(0)
    sizes, covered = np.array([8, 8, 8, 8, 8, 8, 2]), 0
    for _ in range(400):
        means = generator.normal(size=7) / np.sqrt(sizes)
        whole = (means * sizes).sum() / 50
        without = [(whole * 50 - m * n) / (50 - n) for m, n in zip(means, sizes, strict=True)]
        covered += abs(whole) <= half_width(whole, without, sizes.tolist())
    assert 0.92 <= covered / 400 <= 0.98


def test_activation_is_the_mean_of_the_original_maps():
    a, b = maps(mean=2.0)
    for kind in READINGS.values():
        whole = stream(a, b, 4, kind)
        mean = whole.sides(whole.total)[1].mean() / whole.images
        assert mean.item() == pytest.approx(b.mean().item(), abs=1e-12)


@pytest.mark.parametrize("kind", [ImageStatistics, DatasetStatistics])
def test_means_of_many_deviations_keep_the_digits(kind):
    """As NumPy in float64 on the very same float32 maps, up to where channels begin to count as dead."""
    for mean in (0, 1e2, 1e3, 1e4, 1e5, 2e5, 6e5):
        for seed in range(5):
            a, b = maps(20, side=6, seed=seed, mean=mean)
            a, b = (a * 1.5).float(), (b * 1.5).float()
            r = numpy_by_image(a, b).mean(0) if kind is ImageStatistics else numpy_correlation(a, b)
            ours = stream(a, b, 7, kind).similarities()
            np.testing.assert_allclose(ours, r, atol=2e-6)  # sums of 36 to 720 products in float32
