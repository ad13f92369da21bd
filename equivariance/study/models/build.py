"""From the configuration groups `model` and `dataset` to a network and the images that it takes."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from equivariance.errors import UserError, reason
from equivariance.study.models import library, public, weights

NOT_ARGUMENTS = ("name", "published")  # keys of the group `model` that its `_target_` does not take


def build(cfg: DictConfig, shape: Sequence[int], num_classes: int) -> nn.Module:
    """The network that the configuration group `model` describes, in training mode, with the weights that it names.

    Every key but `name` and `published` is an argument of `_target_`. It is given `in_channels` and `num_classes`
    of the images where it takes them and the configuration does not fix them. `weights`, where it takes none, is a
    file, and `weights_key` the place of the state dict inside.
    """
    arguments = {str(key): value for key, value in cfg.items() if key not in NOT_ARGUMENTS}
    channels, height, width = shape
    model = None
    try:
        takes = inspect.signature(_target(cfg._target_)).parameters
        given = {"in_channels": channels, "num_classes": num_classes}
        given = {key: value for key, value in given.items() if key in takes and key not in arguments}
        file = arguments.pop("weights", None) if "weights" not in takes else None
        weights_key = arguments.pop("weights_key", None) if "weights_key" not in takes else None
        if file and "pretrained" in arguments:
            arguments["pretrained"] = False
        model = instantiate(arguments, **given)
        if file:
            weights.load(model, file, weights_key)
        with torch.no_grad():  # what the network keeps of it may be trained
            model.eval()(torch.zeros(1, channels, height, width))
    except Exception as error:  # whatever the network, or the library that it comes from, raises
        explained = _explained(error, cfg, arguments, model, shape)
        raise explained from (None if explained in (error, error.__cause__) else error)
    return model.train()


def prepare(dataset: DictConfig, model: DictConfig, say: Callable[[str], None] | None = None) -> DictConfig:
    """The configuration of the data set without open values: what is given there wins.

    Null `mean`, `std`, `size` and `transform` are those that the network was made for, where it comes from a
    library or the table of published networks. Otherwise mean and deviation are the data set's (`statistics`), the
    size is 224 pixels, and no `transform` means `image_files.Cover`.

    Args:
        say: is called with one line on what was used, where the network has values of its own.
    """
    wanted = preprocessing(model, _sides(dataset))
    dataset = dataset.copy()
    with open_dict(dataset):
        statistics = dataset.pop("statistics", None) or {}
        channels = dataset.get("mean") or statistics.get("mean")
        own = wanted if wanted and (not channels or len(channels) == len(wanted["mean"])) else {}
        used = []
        for key, default in (("size", 224), ("mean", None), ("std", None), ("transform", None)):
            if key in ("size", "transform") and "size" not in dataset:
                continue  # images of one size, such as CIFAR-10's
            given = dataset.get(key)
            if given is None:
                dataset[key] = own.get(key, statistics.get(key, default))
            if own.get(key) is not None:
                shown = "" if key == "transform" else f"={dataset[key]}"
                used.append(f"dataset.{key}{shown} ({'its own' if given is None else 'as given'})")
        if dataset.get("transform", 0) is None:
            del dataset["transform"]
        if dataset.get("mean") is None or dataset.get("std") is None:
            raise UserError("dataset.mean and dataset.std: give both, one number a channel of the images")
    if used and say:
        say(f"{model.name} is given images with {', '.join(used)}")
    return dataset


def preprocessing(model: DictConfig, size: Sequence[int] | None = None) -> dict[str, Any] | None:
    """What the network was made for; None for one that comes from no library and no table."""
    if model._target_ == public.TARGET:
        return public.preprocessing(model.network, size)
    return library.preprocessing(model, size)


def input_shape(dataset: DictConfig, model: DictConfig) -> tuple[int, ...] | None:
    """(c, h, w) of the images that a library's or published network takes, known without data; None for others."""
    wanted = preprocessing(model, _sides(dataset))
    return None if wanted is None else (len(wanted["mean"]), *_sides(wanted))


def predicts_dataset_classes(cfg: DictConfig, classes: Sequence[str], logits: int | None) -> bool:
    """Whether the logits of the network are the classes of a data set, so that it has an accuracy on it.

    A published classifier has its own classes in their order, such as ImageNet's; a library's network that is built
    with `num_classes`, and any other, has those that it is trained for.
    """
    known = public.classes(cfg.network) if cfg._target_ == public.TARGET else library.classes(cfg)
    return logits == len(classes) and (known is None or list(classes) == list(known))


def brings_weights(cfg: DictConfig) -> bool:
    """Whether the configuration names weights: a library's, the table's, or a file."""
    return bool(cfg.get("pretrained") or cfg.get("weights"))


def check_accuracy(model: DictConfig, top1: float, images: int) -> None:
    """Refuse a network whose accuracy, where it is known, is far below the one that is published for its weights.

    Far: by more than 5 points and four standard errors of the accuracy on this many images.
    """
    published = (model.get("published") or {}).get("top1")
    if images < 32 or published is None:
        return
    published /= 100
    if top1 < published - 0.05 - 4 * (published * (1 - published) / images) ** 0.5:
        raise UserError(
            f"{model.name} is right on {top1:.1%} of {images} images, published are {published:.1%} "
            f"({model.published.source}): wrong weights, preprocessing or classes; "
            "model.published=null measures it all the same"
        )


def untrained(cfg: DictConfig) -> DictConfig:
    """The same network without the weights that the configuration names."""
    off = {key: value for key, value in (("pretrained", False), ("weights", None)) if key in cfg}
    return OmegaConf.merge(cfg, off)  # type: ignore[return-value]


def _sides(images: Mapping[Any, Any]) -> Any:
    """(height, width) of the images of the configuration group `dataset`; None where it leaves them open."""
    size = images.get("size")
    return (size, size) if isinstance(size, int) else size


def _target(name: str) -> Callable[..., nn.Module]:
    """The class or function of this dotted name; modules in the folder where the command is run are found too."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"model._target_={name}: {error}; give MODULE.CLASS, found from {os.getcwd()}") from error


def _explained(
    error: Exception, cfg: DictConfig, arguments: dict[str, Any], model: nn.Module | None, shape: Sequence[int]
) -> UserError:
    """The error of a network that could not be built, or not take images of this shape, in one line."""
    cause = error.__cause__ or error
    for known in (error, cause):
        if isinstance(known, UserError):
            return known
    settings = " ".join(f"model.{key}={value}" for key, value in arguments.items() if value is not None)
    if model is None:
        hint = "; +model.ARGUMENT=VALUE gives an argument" if isinstance(cause, TypeError) else ""
        return UserError(f"model {cfg.name} ({settings}) cannot be built: {reason(cause)}{hint}")
    images = "x".join(map(str, shape))
    return UserError(f"model {cfg.name} ({settings}) cannot take images of {images}: {reason(cause)}{_hint(cfg)}")


def _hint(cfg: DictConfig) -> str:
    wanted = preprocessing(cfg)
    if wanted is None:
        return ""
    shape, size = (len(wanted["mean"]), *_sides(wanted)), str(wanted["size"]).replace(" ", "")
    return (
        f"; it was made for {'x'.join(map(str, shape))}: "
        f"dataset=imagenet, or dataset=image_folder, with dataset.size={size}, has such images"
    )
