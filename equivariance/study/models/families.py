"""Small networks for 32x32 images, one of each family of the papers, of the blocks of timm and torchvision.

ViT and MLP-Mixer need no more than timm's classes, see conf/model/vit32.yaml and mixer32.yaml.
"""

from collections import OrderedDict
from itertools import pairwise
from typing import Any

import timm.models
import torchvision.models
from timm.models._efficientnet_builder import decode_arch_def
from torch import nn
from torchvision.models.inception import BasicConv2d, InceptionA, InceptionB, InceptionC

# Tan & Le, "EfficientNet", 2019, Table 1, up to the stage of 192 channels; kernel, stride, expansion, channels.
EFFICIENTNET = [
    ["ds_r1_k3_s1_e1_c16_se0.25"],
    ["ir_r2_k3_s1_e6_c24_se0.25"],
    ["ir_r2_k5_s1_e6_c40_se0.25"],
    ["ir_r2_k3_s2_e6_c80_se0.25"],
    ["ir_r2_k5_s1_e6_c112_se0.25"],
    ["ir_r2_k5_s2_e6_c192_se0.25"],
]


def efficientnet(in_channels: int, num_classes: int) -> nn.Module:
    """EfficientNet of eleven blocks, 16 to 192 channels, three down-samplings instead of five: sides 16, 8, 4."""
    sizes: dict = {"num_classes": num_classes, "num_features": 640, "in_chans": in_channels, "stem_size": 16}
    return timm.models.EfficientNet(decode_arch_def(EFFICIENTNET), **sizes, act_layer=nn.SiLU)


class ResNeXt29(nn.Sequential):
    """ResNeXt-29 (Xie et al., "Aggregated residual transformations", 2017, Sec. 5.3), narrow.

    A convolution, three stages of three blocks, pooling, linear; 32x32 images give maps of side 32, 16 and 8. The
    blocks of the stages put out 4, 8 and 16 times `width` channels, there of 64, and inside have half as many, of
    which each group convolves its own: 4, 8 and 16 channels in 8 groups.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 16, groups: int = 8):
        channels = [width, 4 * width, 8 * width, 16 * width]
        convolution = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        stem = nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())
        stages = {
            f"stage{s}": _stage(before, after, 1 if s == 1 else 2, groups)
            for s, (before, after) in enumerate(pairwise(channels), 1)
        }
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(OrderedDict(stem=stem, **stages, pool=pool, final=nn.Linear(channels[-1], num_classes)))


def _stage(before: int, after: int, stride: int, groups: int) -> nn.Sequential:
    block = torchvision.models.resnet.Bottleneck
    planes = after // block.expansion
    inside = {"groups": groups, "base_width": 128 // groups}  # 2 planes channels inside, as in 8 x 64d
    shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
    return nn.Sequential(
        block(before, planes, stride, shortcut, **inside), *(block(after, planes, **inside) for _ in range(2))
    )


class Inception(nn.Sequential):
    """A convolution, then blocks A, A, B, C, C of Inception-v3 (Szegedy et al. 2016), a quarter as wide.

    Pooling and a linear map follow. 32x32 images give maps of side 32, behind the unpadded B of side 15.
    """

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__(
            OrderedDict(
                stem=BasicConv2d(in_channels, 48, kernel_size=3, padding=1),
                a1=InceptionA(192, 32, _quarter),
                a2=InceptionA(256, 64, _quarter),
                b=InceptionB(288, _quarter),
                c1=InceptionC(768, 128, _quarter),
                c2=InceptionC(768, 128, _quarter),
                pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                final=nn.Linear(192, num_classes),
            )
        )


def _quarter(in_channels: int, out_channels: int, **kwargs: Any) -> nn.Module:
    return BasicConv2d(in_channels // 4, out_channels // 4, **kwargs)
