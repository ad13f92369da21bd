"""The networks of the papers. Each names its own feature maps through `feature_layers()`."""

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from equivariance.data import Images
from equivariance.models.cnn7 import CNN7
from equivariance.models.resnet import resnet

__all__ = ["CNN7", "build", "resnet"]


def build(cfg: DictConfig, images: Images) -> nn.Module:
    """The network that the configuration group `model` describes, at initialisation, for images of this kind."""
    arguments = {key: value for key, value in cfg.items() if key != "name"}
    return instantiate(arguments, in_channels=images.pixels.shape[1], num_classes=len(images.classes))
