"""The networks of the papers. Each names its own feature maps through `feature_layers()`."""

from equivariance.models.cnn7 import CNN7
from equivariance.models.resnet import resnet

__all__ = ["CNN7", "resnet"]
