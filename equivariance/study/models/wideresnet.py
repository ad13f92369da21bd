"""Wide ResNets (Zagoruyko & Komodakis, "Wide residual networks", 2016)."""

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.study.models.in_order import InOrder

Padding = Literal["zeros", "circular"]


class PreActivationBlock(nn.Module):
    """x + conv(relu(bn(conv(relu(bn(x)))))), both convolutions 3x3.

    Where the channels change, the shortcut is a 1x1 convolution of relu(bn(x)), as in the authors' code.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, padding: Padding = "zeros"):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False, padding_mode=padding)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, padding_mode=padding)
        changes = in_channels != channels
        self.projection = nn.Conv2d(in_channels, channels, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x), inplace=True)
        out = self.relu(self.bn2(self.conv1(active)))
        shortcut = x if self.projection is None else self.projection(active)
        return shortcut + self.conv2(out)


class WideResNet(InOrder):
    """WRN-d-k: a convolution, three stages of `(depth - 4) / 6` blocks of 16k, 32k and 64k channels, norm and ReLU.

    32x32 images give maps of side 32, 16 and 8. No dropout: the sources list none. Convolutions are initialised
    as in He et al. 2015, by their outputs (`fan_out`), as the authors do.

    A block's output is measured after the addition, before the next block's norm and ReLU. In a ResNet the ReLU
    that follows the addition is the block's own, and both the next block and its shortcut read what it leaves;
    here the non-linearities belong to the convolutions that follow them, and what a block hands on is the sum,
    which shortcuts carry unchanged. So a layer's score depends on no later parameter. `pool`, behind the last norm
    and ReLU, is the same in both families.

    Args:
        depth: d = 6 n + 4: 16, 22, 28, 40.
        width: k, by which the channels of a ResNet are multiplied.
        padding: what stands around every map: zeros, or circular, what leaves it at the other side.
    """

    def __init__(
        self, in_channels: int, num_classes: int, depth: int = 40, width: int = 1, padding: Padding = "zeros"
    ):
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise UserError(f"model.depth={depth}: wide ResNets have 6 n + 4 layers, such as 16, 22, 28, 40")
        if not isinstance(width, int) or width < 1:
            raise UserError(f"model.width={width}: needs a whole number from 1 on")
        if padding not in ("zeros", "circular"):
            raise UserError(f"model.padding={padding}: choose zeros or circular")
        self.stem = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False, padding_mode=padding)
        channels = [16] + [16 * width] * blocks + [32 * width] * blocks + [64 * width] * blocks
        strides = [2 if index in (blocks, 2 * blocks) else 1 for index in range(3 * blocks)]
        self.blocks = nn.ModuleList(
            PreActivationBlock(before, after, stride, padding)
            for (before, after), stride in zip(pairwise(channels), strides, strict=True)
        )
        self.activation = nn.Sequential(nn.BatchNorm2d(64 * width), nn.ReLU())
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.final = nn.Linear(64 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.zeros_(self.final.bias)
