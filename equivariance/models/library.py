"""Networks of timm and torchvision by name, with the size, mean and deviation of the images they were made for."""

import difflib
from dataclasses import dataclass

import timm
import torchvision
from omegaconf import DictConfig
from torch import nn

from equivariance.errors import UserError


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of images: (height, width) in pixels, and mean and deviation of each channel."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def timm_network(
    architecture: str, pretrained: bool, in_channels: int | None = None, num_classes: int | None = None
) -> nn.Module:
    """`timm.create_model`; channels and classes are the architecture's own unless given.

    Raises:
        UserError: timm has no such network, or cannot get its weights.
    """
    _timm_config(architecture)
    changes = {"in_chans": in_channels, "num_classes": num_classes}
    changes = {key: value for key, value in changes.items() if value is not None}
    try:
        return timm.create_model(architecture, pretrained=pretrained, **changes)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise _no_weights(architecture, "model.pretrained=false", error) from error


def torchvision_network(architecture: str, weights: str | None) -> nn.Module:
    """`torchvision.models.get_model`, with weights of that name (DEFAULT, IMAGENET1K_V1), or untrained for None.

    Raises:
        UserError: torchvision has no such network or weights, or cannot get them.
    """
    chosen = _torchvision_weights(architecture, weights) if weights else None
    try:
        return torchvision.models.get_model(architecture, weights=chosen)
    except OSError as error:
        raise _no_weights(architecture, "model.weights=null", error) from error


def preprocessing(cfg: DictConfig) -> Preprocessing | None:
    """What the network of the configuration group `model` was made for; None if it is from no library."""
    if cfg._target_ == f"{__name__}.timm_network":
        found = timm.data.resolve_data_config(pretrained_cfg=_timm_config(cfg.architecture))
        return Preprocessing(tuple(found["input_size"][1:]), tuple(found["mean"]), tuple(found["std"]))
    if cfg._target_ == f"{__name__}.torchvision_network":
        made_for = _torchvision_weights(cfg.architecture, cfg.weights or "DEFAULT").transforms()
        (size,) = set(made_for.crop_size)
        return Preprocessing((size, size), tuple(made_for.mean), tuple(made_for.std))
    return None


def _timm_config(architecture: str) -> dict:
    if not timm.is_model(architecture):
        raise _unknown("timm", architecture, timm.list_models())
    return timm.get_pretrained_cfg(architecture).to_dict()


def _torchvision_weights(architecture: str, name: str):
    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        raise _unknown("torchvision", architecture, known)
    weights = torchvision.models.get_model_weights(architecture)
    if name not in weights.__members__:
        raise UserError(f"model.weights={name}: {architecture} has {', '.join(weights.__members__)}")
    return weights[name]


def _unknown(library: str, architecture: str, known: list[str]) -> UserError:
    near = difflib.get_close_matches(architecture, known, n=4, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else f"see the list of models of {library}"
    return UserError(f"model.name={architecture}: {library} has no such classification network; {hint}")


def _no_weights(architecture: str, otherwise: str, error: Exception) -> UserError:
    cause = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(f"cannot get the weights of {architecture} ({cause[0]}); {otherwise} measures it untrained")
