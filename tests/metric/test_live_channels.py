"""Scores at equal numbers of live channels, `scripts/live_channels.py`."""

from itertools import combinations

import numpy as np
import pytest
import torch

from scripts.live_channels import drawn, scores


@pytest.fixture
def r():
    return 2 * torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0)) - 1


def test_of_all_channels_they_are_the_scores_of_the_measure(r):
    whole = r.clamp(min=0).numpy()
    expected = {"invariance": np.mean([np.diag(each) for each in whole]), "equivariance": whole.max(2).mean()}
    assert scores(r) == pytest.approx(expected)
    assert scores(drawn(r, 6)) == pytest.approx(expected)


def test_fewer_channels_have_the_mean_over_all_choices(r):
    """Two of six channels: the draws come near the mean over all fifteen pairs; fewer partners, a lower maximum."""
    pairs = [r[:, list(pair)][:, :, list(pair)].clamp(min=0) for pair in combinations(range(6), 2)]
    expected = np.mean([pair.max(2).values.mean() for pair in pairs])
    spread = np.std([pair.max(2).values.mean() for pair in pairs]) / np.sqrt(200)
    found = scores(drawn(r, 2))
    assert abs(found["equivariance"] - expected) < 4 * spread
    assert found["equivariance"] < scores(r)["equivariance"] - 0.1
