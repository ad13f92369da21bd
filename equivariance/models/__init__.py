"""The networks of the papers. Each names its own feature maps through `feature_layers()`."""

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from equivariance.data import Images
from equivariance.errors import UserError
from equivariance.models.cnn7 import CNN7
from equivariance.models.gaussian import GaussianCNN
from equivariance.models.published import load_published
from equivariance.models.resnet import ResNet
from equivariance.models.wideresnet import WideResNet

__all__ = ["CNN7", "GaussianCNN", "ResNet", "WideResNet", "build", "load_published"]


def build(cfg: DictConfig, images: Images) -> nn.Module:
    """The network that the configuration group `model` describes, at initialisation, for images of this kind.

    Raises:
        UserError: it cannot be built, or cannot take these images.
    """
    arguments = {key: value for key, value in cfg.items() if key not in ("name", "weights")}
    channels, height, width = images.pixels.shape[1:]
    try:
        model = instantiate(arguments, in_channels=channels, num_classes=len(images.classes))
        with torch.inference_mode():
            model.eval()(torch.zeros(1, channels, height, width))
    except Exception as error:  # whatever the network, or the library that it comes from, raises
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        settings = " ".join(f"model.{key}={value}" for key, value in arguments.items() if key != "_target_")
        raise UserError(
            f"model {cfg.name} ({settings}) cannot take images of {channels}x{height}x{width}: "
            f"{str(cause).splitlines()[0]}"
        ) from error
    return model.train()
