"""CIFAR ResNets (He, Zhang, Ren & Sun, "Deep residual learning for image recognition", 2016, Sec. 4.2)."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.study.models.in_order import InOrder


class BasicBlock(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))), both convolutions 3x3.

    Where the block halves the map and doubles the channels, the shortcut of option A of the paper has no
    parameters: every second position is kept, and the new channels are zeros. Option B is a 1x1 convolution
    with batch norm.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: str = "A"):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.new_channels = stride, channels - in_channels
        self.projection = None
        if shortcut == "B" and self.new_channels:
            convolution = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.projection = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self._shortcut(x), inplace=True)

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.projection is not None:
            return self.projection(x)
        if self.stride == 1 and not self.new_channels:
            return x
        half = self.new_channels // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.new_channels - half))


class ResNet(InOrder):
    """A stem of one convolution, then three stages of `(depth - 2) / 6` blocks of 16, 32 and 64 channels.

    32x32 images give maps of side 32, 16 and 8. Convolutions are initialised as in He et al. 2015.

    Args:
        depth: 6 n + 2 layers with weights: 20, 32, 44, 56, 110.
        shortcut: "A" or "B", see `BasicBlock`.
    """

    def __init__(self, in_channels: int, num_classes: int, depth: int = 44, shortcut: str = "A"):
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise UserError(f"model.depth={depth}: CIFAR ResNets have 6 n + 2 layers, such as 20, 32, 44, 56, 110")
        if shortcut not in ("A", "B"):
            raise UserError(f"model.shortcut={shortcut}: choose A or B")
        convolution = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.stem = nn.Sequential(convolution, nn.BatchNorm2d(16), nn.ReLU())
        widths = [16] + [16] * blocks + [32] * blocks + [64] * blocks
        self.blocks = nn.ModuleList(
            BasicBlock(before, after, after // before, shortcut) for before, after in pairwise(widths)
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.final = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def our_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of github.com/akamaster/pytorch_resnet_cifar10 under our names; other names stay.

        `layer2.0.conv1.weight` becomes `blocks.7.conv1.weight` of ResNet-44.
        """
        renamed, stage = {"conv1.": "stem.0.", "bn1.": "stem.1.", "linear.": "final."}, len(self.blocks) // 3
        renamed |= {f"layer{i // stage + 1}.{i % stage}.": f"blocks.{i}." for i in range(3 * stage)}

        def ours(name: str) -> str:
            theirs = next((start for start in renamed if name.startswith(start)), "")
            return renamed.get(theirs, "") + name.removeprefix(theirs)

        return {ours(name): value for name, value in state.items()}
