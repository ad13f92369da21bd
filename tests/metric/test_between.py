"""Layers of two networks: against NumPy's CKA and correlations, and networks that are known to be alike."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from equivariance.errors import UserError
from equivariance.figures.similarity import plot_similarity
from equivariance.metric.similarity import similarity
from equivariance.study.models import CNN7


def network(seed, width=5, stride=1):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, 7, 3, stride=stride), nn.Tanh()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 3)).double().eval()


@pytest.fixture
def images():
    return torch.rand(30, 1, 10, 10, generator=torch.Generator().manual_seed(0)).double()


def centred(maps):
    x = maps.detach().movedim(1, -1).flatten(0, -2).numpy()
    return x - x.mean(0)


def numpy_scores(a, b):
    """Matching and linear CKA of features (positions, c) that are centred, by their definitions."""
    r = np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :]
    cka = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    live = a.std(0) > 0, b.std(0) > 0
    return np.maximum(r[live[0]][:, live[1]], 0).max(1).mean(), cka


def test_scores_are_numpys(images):
    a, b = network(0), network(1, width=6)
    table = similarity(a, b, images, ["1", "3"], ["1", "3"], batch_size=7).set_index(["layer_a", "layer_b"])
    for i, j in ((1, 1), (3, 3)):
        expected = numpy_scores(centred(a[: i + 1](images)), centred(b[: j + 1](images)))
        one = table.loc[(str(i), str(j))]
        assert (one.matching, one.cka) == pytest.approx(expected, abs=1e-9)


def test_chance_levels_are_the_scores_of_neighbours(images):
    """Images 2i and 2i + 1."""
    a, b = network(0), network(1, width=6)
    maps_a, maps_b = (centred(net[:4](x)) for net, x in ((a, images), (b, images[torch.arange(30) ^ 1])))
    one = similarity(a, b, images, ["3"], ["3"], batch_size=7).iloc[0]
    assert (one.matching_chance, one.cka_chance) == pytest.approx(numpy_scores(maps_a, maps_b), abs=1e-9)
    assert one.cka_chance < one.cka and one.matching_chance < one.matching
    assert one.linear_chance < one.matching


@pytest.mark.parametrize("count", [1, 2, 29, 30])
def test_no_cut_into_batches_changes_the_similarity(images, count):
    a, b = network(0), network(1, width=6)
    whole = similarity(a, b, images[:count], ["1", "3"], ["1", "3"], batch_size=count)
    assert whole.positions.iloc[-1] == count * 36 and whole.matching.notna().all()
    assert whole.matching_chance.notna().all() == (count > 1) and whole.linear.notna().all() == (count > 2)
    for size in (1, 7, 8):
        cut = similarity(a, b, images[:count], ["1", "3"], ["1", "3"], batch_size=size)
        pd.testing.assert_frame_equal(cut, whole, rtol=0, atol=1e-10)


def test_nan_in_a_map_is_refused(images):
    a, b = network(0), network(1)
    b[2].weight.data[0] = torch.nan
    with pytest.raises(UserError, match="the maps of layer 3 hold NaN or infinity"):
        similarity(a, b, images)


def test_the_chance_level_sees_what_all_images_share(images):
    """Of the same image over and over, with a little noise, chance is as high as the score."""
    a, noise = network(0), 1e-3 * torch.rand(30, 1, 10, 10, generator=torch.Generator().manual_seed(1)).double()
    one = similarity(a, a, images[:1] + noise, ["3"], ["3"], batch_size=6).iloc[0]
    assert one[["matching_chance", "cka_chance", "linear_chance"]].min() > 0.99 and one.matching > 0.999


def test_maps_of_two_sizes_meet_at_the_smaller_one(images):
    a, b = network(0), network(1, stride=3)
    one = similarity(a, b, images, ["1"], ["3"]).iloc[0]  # 8x8 and 2x2
    small = nn.functional.avg_pool2d(a[:2](images), 4)
    assert (one.matching, one.cka) == pytest.approx(numpy_scores(centred(small), centred(b[:4](images))), abs=1e-9)
    assert one.positions == 30 * 4


def test_a_network_with_its_channels_reordered_and_mixed(images):
    """A reordering keeps all three, a rotation of the channels all but the matching one."""
    a, reordered, mixed = network(0), network(0), network(0)
    order = [3, 1, 0, 2, 6, 5, 4]
    reordered[2].weight.data, reordered[2].bias.data = a[2].weight.data[order], a[2].bias.data[order]
    rotation = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64))[0]
    mixed[2].weight.data = torch.einsum("cd,dihw->cihw", rotation, a[2].weight.data)
    mixed[2].bias.data = rotation @ a[2].bias.data
    same = similarity(a, reordered, images, ["2"], ["2"], batch_size=6).iloc[0]
    assert tuple(same[["matching", "linear", "cka"]]) == pytest.approx((1, 1, 1), abs=1e-6)
    turned = similarity(a, mixed, images, ["2"], ["2"], batch_size=6).iloc[0]
    assert (turned.linear, turned.cka) == pytest.approx((1, 1), abs=1e-6) and turned.matching < 0.9
    other = similarity(a, network(1), images, ["2"], ["2"], batch_size=6).iloc[0]
    assert other.cka < 0.99 and other.linear < 0.999


def test_own_layers_in_a_table_and_a_heat_map(images):
    torch.manual_seed(0)
    a, b = CNN7(1, 6, padding=1).double(), CNN7(1, 6).double()
    pictures = images.repeat(1, 1, 3, 3)[:6, :, :28, :28]
    table = similarity(a, b, [(pictures[:3], None), pictures[3:]])
    assert len(table) == 81 and table[["matching", "linear", "cka"]].stack().between(0, 1).all()
    axes = plot_similarity(table, "cka")
    drawn = axes.images[0].get_array()
    assert drawn.shape == (9, 9) and drawn[2, 5] == table[(table.index_a == 2) & (table.index_b == 5)].cka.item()
    with pytest.raises(UserError, match="kind=best: choose matching"):
        plot_similarity(table, "best")
    with pytest.raises(UserError, match="there are no images"):
        similarity(a, b, [])
