"""Networks with a symmetry built by hand, on which the measure must be 1 (thesis Sec. 4.1.2; paper Fig. 3)."""

import torch
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.study.models.in_order import InOrder


class GaussianCNN(InOrder):
    """Three convolutions of 5x5 Gaussian filters with ReLU, global average pooling, nothing to train.

    With `corner="whole"` the filters are isotropic, one deviation a channel: every map turns with the image, and
    invariance to quarter turns is 1. With `corner="cut"` all are the same Gaussian without one corner, in its four
    rotations: channel c of the turned image is channel c - 1 of the image, turned; equivariance is 1 and invariance
    is not.

    Args:
        in_channels: channels of the images; their mean is taken.
        num_classes: not used: the pooled features are the output.
        corner: whole or cut.
    """

    def __init__(self, in_channels: int, num_classes: int, corner: str = "whole"):
        super().__init__()
        if corner not in ("whole", "cut"):
            raise UserError(f"model.corner={corner}: choose whole or cut")
        filters = rotated_cut_gaussians() if corner == "cut" else torch.stack([gaussian(s) for s in (0.5, 1, 2, 4)])
        self.blocks = nn.ModuleList()
        for channels in (in_channels, 4, 4):
            convolution = nn.Conv2d(channels, 4, 5, bias=False)
            convolution.weight.data = (filters[:, None] / channels).expand(-1, channels, -1, -1).clone()
            self.blocks.append(nn.Sequential(convolution, nn.ReLU()))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def gaussian(deviation: float, size: int = 5) -> Tensor:
    """An isotropic Gaussian (size, size) with this deviation in pixels and sum 1."""
    distance = torch.arange(size) - (size - 1) / 2
    weight = torch.exp(-(distance[:, None] ** 2 + distance**2) / (2 * deviation**2))
    return weight / weight.sum()


def rotated_cut_gaussians() -> Tensor:
    """A Gaussian whose upper left 2x2 corner is zero, turned by 0, 90, 180 and 270 degrees: (4, 5, 5)."""
    cut = gaussian(2.0)
    cut[:2, :2] = 0
    return torch.stack([cut.rot90(turn) for turn in range(4)])
