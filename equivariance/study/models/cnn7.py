"""CNN-7, the plain network on which the papers study symmetry in the task."""

from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.study.models.in_order import InOrder


class CNN7(InOrder):
    """Seven 3x3 convolutions, each with batch norm and ReLU, then global average pooling and a linear map.

    After Z2CNN (Cohen & Welling, "Group equivariant convolutional networks", 2016): unpadded convolutions of
    20 channels and 2x2 max pooling after the second one. 28x28 inputs give maps of side 26, 24, 10, 8, 6, 4
    and 2; their strides are 1, 1, 2, 2, 2, 2 and 2 pixels. No dropout: the sources list none.

    Args:
        width: channels of every convolution.
        padding: zeros on each side of every convolution's input; 1 keeps the maps' size.

    Raises:
        UserError: the width is no whole number from 1 on.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 20, padding: int = 0):
        super().__init__()
        if type(width) is not int or width < 1:
            raise UserError(f"model.width={width}: needs a whole number from 1 on")

        def block(channels: int) -> nn.Sequential:
            convolution = nn.Conv2d(channels, width, 3, padding=padding, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())

        self.blocks = nn.ModuleList([block(in_channels), *(block(width) for _ in range(6))])
        self.downsample = nn.MaxPool2d(2)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.final = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, in_channels, h, w) to logits (n, num_classes)."""
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == 1:
                x = self.downsample(x)
        return self.final(self.pool(x))
