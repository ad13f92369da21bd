"""Sums over many positions, in float32."""

import copy
from math import sqrt

import pytest
import torch
from torch import nn

import equivariance as eq


def test_few_channels_of_large_maps_keep_their_digits_in_float32():
    """The rounding of one map's sum, sqrt(n) u (Higham & Mary 2019), is left, and not that of 800,000 positions."""
    images = torch.rand(200, 1, 64, 64, generator=torch.Generator().manual_seed(0)) + 1
    images[:, :, ::2] *= 0.1
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()).eval()
    turn, over = eq.rotations([90]), ["image", "dataset"]
    exact = eq.measure(copy.deepcopy(network).double(), images.double(), turn, over=over)
    found = eq.measure(network, images, turn, over=over)
    limit = 5 * sqrt(60 * 60) * 2.0**-24
    for column in ("value", "chance"):
        assert found[column].to_numpy() == pytest.approx(exact[column].to_numpy(), abs=limit)
