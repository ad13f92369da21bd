"""The networks of the papers, networks of timm and torchvision, and anybody's own."""

import importlib
import inspect
import os
import sys

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from equivariance.data.datasets import Images, imagenet_classes
from equivariance.errors import UserError
from equivariance.models import weights
from equivariance.models.accuracy import check_accuracy
from equivariance.models.cnn7 import CNN7
from equivariance.models.gaussian import GaussianCNN
from equivariance.models.library import preprocessing
from equivariance.models.resnet import ResNet
from equivariance.models.wideresnet import WideResNet

__all__ = [
    "CNN7",
    "GaussianCNN",
    "ResNet",
    "WideResNet",
    "blank_images",
    "brings_weights",
    "build",
    "check_accuracy",
    "knows",
    "prepare",
    "untrained",
]


def build(cfg: DictConfig, images: Images) -> nn.Module:
    """The network that the configuration group `model` describes, with the weights that it names, for these images.

    Every key but `name` and `published` is an argument of `_target_`. It is given `in_channels` and `num_classes`
    of the images where it takes them and the configuration does not fix them; `weights`, where it takes none, is a
    file.

    Raises:
        UserError: it cannot be built, or cannot take these images.
    """
    arguments = {key: value for key, value in cfg.items() if key not in ("name", "published")}
    channels, height, width = images.pixels.shape[1:]
    model = None
    try:
        takes = inspect.signature(_target(cfg._target_)).parameters
        given = {"in_channels": channels, "num_classes": len(images.classes)}
        given = {key: value for key, value in given.items() if key in takes and key not in arguments}
        file = arguments.pop("weights", None) if "weights" not in takes else None
        if file and "pretrained" in arguments:
            arguments["pretrained"] = False
        model = instantiate(arguments, **given)
        if file:
            weights.load(model, file)
        with torch.inference_mode():
            model.eval()(torch.zeros(1, channels, height, width))
    except Exception as error:  # whatever the network, or the library that it comes from, raises
        cause = error.__cause__ or error
        if isinstance(error, UserError):
            raise
        if isinstance(cause, UserError):
            raise cause from None
        settings = " ".join(f"model.{key}={value}" for key, value in arguments.items() if value is not None)
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        if model is None:
            hint = "; +model.ARGUMENT=VALUE gives an argument" if isinstance(cause, TypeError) else ""
            raise UserError(f"model {cfg.name} ({settings}) cannot be built: {reason}{hint}") from error
        raise UserError(
            f"model {cfg.name} ({settings}) cannot take images of {channels}x{height}x{width}: {reason}{_hint(cfg)}"
        ) from error
    return model.train()


def prepare(dataset: DictConfig, model: DictConfig) -> DictConfig:
    """The configuration of the data set with the evaluation transform that the network was made for.

    Only a network of a library asks for one: size (where it is not given, `size: null`), mean and deviation, and
    for images in files how they are resized and cut.
    """
    wanted = preprocessing(model, _sides(dataset))
    dataset = dataset.copy()
    with open_dict(dataset):
        if wanted and len(wanted.mean) == len(dataset.mean):
            dataset.mean, dataset.std = list(wanted.mean), list(wanted.std)
            if "size" in dataset:
                dataset.transform = wanted.transform
        if "size" in dataset and dataset.size is None:
            sides = list(wanted.size) if wanted else [224]
            dataset.size = sides[0] if len(set(sides)) == 1 else sides
    return dataset


def blank_images(dataset: DictConfig, model: DictConfig) -> Images | None:
    """One black image as a library's network takes it, to look at the network without data; None for others."""
    wanted = preprocessing(model, _sides(dataset))
    if wanted is None:
        return None
    pixels = torch.zeros(1, len(wanted.mean), *wanted.size, dtype=torch.uint8)
    return Images(pixels, torch.zeros(1).long(), ["none"], torch.tensor(wanted.mean), torch.tensor(wanted.std))


def knows(cfg: DictConfig, images: Images, logits: int) -> bool:
    """Whether the logits of the network are the classes of these images, so that it has an accuracy on them.

    A library's own classifier stands for the 1000 classes of ImageNet in their order.
    """
    library = preprocessing(cfg) is not None and cfg.get("num_classes") is None
    return logits == images.num_classes and (not library or list(images.classes) == imagenet_classes())


def _sides(dataset: DictConfig) -> tuple[int, int] | None:
    size = dataset.get("size")
    return None if size is None else (size, size) if isinstance(size, int) else tuple(size)


def brings_weights(cfg: DictConfig) -> bool:
    """Whether the configuration names weights: a library's, or a file."""
    return bool(cfg.get("pretrained") or cfg.get("weights"))


def untrained(cfg: DictConfig) -> DictConfig:
    """The same network without the weights that the configuration names."""
    off = {key: value for key, value in (("pretrained", False), ("weights", None)) if key in cfg}
    return OmegaConf.merge(cfg, off)


def _target(name: str):
    """The class or function of this dotted name; modules in the folder where the command is run are found too."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"model._target_={name}: {error}; give MODULE.CLASS, importable in {os.getcwd()}"
        ) from error


def _hint(cfg: DictConfig) -> str:
    wanted = preprocessing(cfg)
    if wanted is None:
        return ""
    size = f"[{wanted.size[0]},{wanted.size[1]}]" if wanted.size[0] != wanted.size[1] else wanted.size[0]
    return (
        f"; it was made for {len(wanted.mean)}x{wanted.size[0]}x{wanted.size[1]}: "
        f"dataset=imagenet, or dataset=image_folder, with dataset.size={size}, has such images"
    )
