"""A metric of a network that takes integers, and one that is given a state which is not its own."""

import copy

import pytest
import torch
from torch import nn

import equivariance as eq
from equivariance.errors import UserError


class OfBytes(nn.Sequential):
    def forward(self, x):
        if x.dtype != torch.uint8:
            raise TypeError("bytes alone")
        return super().forward(x / 255)


def network(seed=0):
    torch.manual_seed(seed)
    return OfBytes(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def test_a_network_of_bytes_is_copied_moved_saved_and_merged():
    images = torch.randint(256, (20, 3, 8, 8), dtype=torch.uint8)
    whole, part, rest = (eq.Equivariance(network(), eq.rotations([90])) for _ in range(3))
    whole.update(images)
    part.update(images[:10])
    rest.reset(10)
    rest.update(images[10:])
    part = copy.deepcopy(part.to("cpu"))
    loaded = eq.Equivariance(network(), eq.rotations([90]))
    loaded.load_state_dict(part.state_dict())
    loaded.merge_state(rest)
    assert loaded.compute().value.tolist() == pytest.approx(whole.compute().value.tolist(), abs=1e-6)


def test_a_state_that_is_refused_leaves_the_metric_as_it_was():
    images = torch.rand(10, 3, 8, 8)
    metrics = [eq.Equivariance(nn.Sequential(nn.Conv2d(3, c, 3), nn.ReLU()), eq.rotations([90])) for c in (4, 5)]
    for metric in metrics:
        metric.update(images)
    with pytest.raises(UserError, match="metrics of other layers cannot be merged"):
        metrics[0].load_state_dict(metrics[1].state_dict())
    assert metrics[0].images == 10
