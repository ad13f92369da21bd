"""Networks of timm and torchvision by name, with the evaluation transform of the images they were made for."""

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from torch import nn

from equivariance.errors import UserError, reason
from equivariance.study.data.classes import imagenet_classes
from equivariance.study.models import weights as files

os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # whoever calls torch.load here: tensors, never code
TRANSFORMS_INPUT = ("inception_v3", "googlenet")  # torchvision: normalised again inside, where weights are its own


def timm_network(
    architecture: str,
    pretrained: bool,
    in_channels: int | None = None,
    num_classes: int | None = None,
    reparameterised: bool = False,
) -> nn.Module:
    """`timm.create_model`; channels and classes are the architecture's own unless given.

    Args:
        architecture: timm's name of it or `hf-hub:OWNER/NAME`.
        reparameterised: the form for inference, where the architecture has one: a MobileOne's block is one
            convolution instead of branches with norms.
    """
    import timm  # here and below, as importing it takes seconds, which other networks need not wait
    import timm.utils

    _timm_config(architecture)
    changes: dict[str, Any] = {"in_chans": in_channels, "num_classes": num_classes}
    changes = {key: value for key, value in changes.items() if value is not None}
    try:
        model = timm.create_model(architecture, pretrained=pretrained, **changes)
        return timm.utils.reparameterize_model(model) if reparameterised else model
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise _no_weights(architecture, _hub_folder(architecture), "model.pretrained=false", error) from error


def torchvision_network(architecture: str, weights: str | None, weights_key: str | None = None) -> nn.Module:
    """`torchvision.models.get_model`, with weights of that name (DEFAULT, IMAGENET1K_V1) or from that file.

    None builds it untrained; the key says where in the file the weights lie, see `weights.read`.
    """
    import torchvision

    chosen = _torchvision_weights(architecture, weights)
    by_name = bool(weights and not _is_file(weights))
    extra = {"transform_input": True} if architecture in TRANSFORMS_INPUT and not by_name else {}
    try:
        model = torchvision.models.get_model(architecture, weights=chosen if by_name else None, **extra)
    except OSError as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise _no_weights(architecture, folder / Path(chosen.url).name, "model.weights=null", error) from error
    if weights and not by_name:
        files.load(model, weights, weights_key)
    return model


def classes(cfg: Mapping[str, Any]) -> list[str] | None:
    """What the classifier of the configuration group `model` was trained for; None if it is from no library."""
    from_library = cfg["_target_"].startswith(f"{__name__}.") and cfg.get("num_classes") is None
    return imagenet_classes() if from_library else None


def preprocessing(cfg: Mapping[str, Any], size: Sequence[int] | None = None) -> dict[str, Any] | None:
    """The images that the network of the configuration group `model` was made for; None if it is from no library.

    Keys of the configuration group `dataset`: `size`, `mean`, `std`, and `transform`, the library's evaluation
    transform of an RGB image to uint8 (3, height, width), or None for `image_files.Cover`.

    Args:
        size: (height, width) of the images, if not the network's own; the share that is cut off stays the same.
    """
    if cfg["_target_"] == f"{__name__}.timm_network":
        import timm

        given = {"input_size": (3, *size)} if size else {}
        found = timm.data.resolve_data_config(given, pretrained_cfg=_timm_config(cfg["architecture"]))
        kept = {key: found[key] for key in ("input_size", "interpolation", "crop_pct", "crop_mode")}
        kept["input_size"] = list(kept["input_size"])
        transform = {"_target_": "timm.data.create_transform", **kept, "use_prefetcher": True}  # uint8 comes out
        return images_of(found["input_size"][1:], found["mean"], found["std"], transform)
    if cfg["_target_"] == f"{__name__}.torchvision_network":
        theirs = _torchvision_weights(cfg["architecture"], cfg["weights"]).transforms()
        (crop,), (resize,) = theirs.crop_size, theirs.resize_size
        if size:
            crop, resize = min(size), round(resize * max(size) / crop)
        transform = {
            "_target_": f"{__name__}.torchvision_transform",
            **{"resize": resize, "crop": list(size or (crop, crop)), "interpolation": theirs.interpolation.value},
        }
        return images_of(size or (crop, crop), theirs.mean, theirs.std, transform)
    return None


def images_of(
    size: Sequence[int], mean: Sequence[float], std: Sequence[float], transform: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Images as keys of the configuration group `dataset`, see `preprocessing`; `size` is one number of squares."""
    side = size[0] if len({*size}) == 1 else list(size)
    return {"size": side, "mean": list(mean), "std": list(std), "transform": transform}


def select(models: str | Sequence[str], pretrained: bool) -> list[str]:
    """The names of timm's classification networks that match patterns such as `resnet*`, in timm's order.

    Args:
        models: patterns, names, or files (.txt) with one of them a line (# begins a comment). A name without a
            star is kept even if timm does not know it: that one will fail, the others are measured.
        pretrained: only networks with weights, under the names of their weights: `resnet18.a1_in1k`.
    """
    import timm

    names: dict[str, None] = {}
    for pattern in [models] if isinstance(models, str) else models:
        if Path(pattern).suffix == ".txt":
            names |= dict.fromkeys(select(_lines(Path(pattern)), pretrained))
            continue
        found = timm.list_models(pattern, pretrained=pretrained, include_tags="." in pattern or None)
        if not found and any(letter in pattern for letter in "*?["):
            kind = "network with weights" if pretrained else "network"
            raise UserError(f"zoo.models={pattern}: timm has no such {kind}; timm.list_models() lists all")
        names |= dict.fromkeys(found or [pattern])
    return list(names)


def family(name: str) -> str:
    """The module of timm that defines the network, such as `vision_transformer`; else its name's first word."""
    import timm

    architecture = name.partition(".")[0]
    if timm.is_model(architecture):
        return timm.models.model_entrypoint(architecture).__module__.rpartition(".")[2]
    return architecture.partition("_")[0].rstrip("0123456789")


def _lines(file: Path) -> list[str]:
    try:
        lines = [line.partition("#")[0].strip() for line in file.read_text().splitlines()]
    except OSError as error:
        raise UserError(f"zoo.models={file}: {error.strerror}") from error
    return [line for line in lines if line]


def torchvision_transform(resize: int, crop: list[int], interpolation: str) -> Callable:
    """What torchvision's evaluation presets do to an image before they normalise it (and give it antialiased)."""
    from torchvision import transforms

    mode = transforms.InterpolationMode(interpolation)
    return transforms.Compose(
        [transforms.Resize(resize, mode, antialias=True), transforms.CenterCrop(crop), transforms.PILToTensor()]
    )


def _is_file(weights: str) -> bool:
    return Path(weights).suffix in files.ENDINGS or Path(weights).exists()


@cache
def _timm_config(architecture: str) -> dict[str, Any]:
    """timm's description of a network's weights and images."""
    import timm

    source, _, name = architecture.partition(":")
    if source == "hf-hub" and name:
        try:
            return timm.models.load_model_config_from_hf(name)[0]
        except Exception as error:  # whatever the hub's client, or a damaged file, raises
            raise _no_weights(architecture, _hub_folder(architecture), "another network", error) from error
    if not timm.is_model(architecture):
        raise _unknown("timm", architecture, timm.list_models())
    known: Any = timm.get_pretrained_cfg(architecture)
    return known.to_dict()


def _hub_folder(architecture: str) -> Path:
    """Where the hub's client keeps the files of a network."""
    source, _, name = architecture.rpartition(":")
    hub = name.partition("@")[0] if source else _timm_config(architecture).get("hf_hub_id") or architecture
    return Path(constants.HF_HUB_CACHE) / f"models--{hub.replace('/', '--')}"


def _torchvision_weights(architecture: str, name: str | None) -> Any:
    """The member of torchvision's list of weights with this name or file name; DEFAULT for None or another file."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        raise _unknown("torchvision", architecture, known)
    weights = torchvision.models.get_model_weights(architecture)
    if name is None or _is_file(name):
        same = [member for member in weights if name and Path(member.url).name == Path(name).name]
        return same[0] if same else weights.DEFAULT
    if name not in weights.__members__:
        names = ", ".join(weights.__members__)
        raise UserError(f"model.weights={name}: {architecture} has {names}; or give a file, {files.FORMATS}")
    return weights[name]


def _unknown(library: str, architecture: str, known: list[str]) -> UserError:
    near = difflib.get_close_matches(architecture, known, n=4, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else f"see the list of models of {library}"
    return UserError(f"model.name={architecture}: {library} has no such classification network; {hint}")


def _no_weights(architecture: str, looked: Path, otherwise: str, error: Exception) -> UserError:
    return UserError(
        f"cannot get the weights of {architecture} ({reason(error)[:120]}): not in {looked} and not by network; "
        f"copy them there from another machine, or give model.weights=FILE; {otherwise} measures it untrained"
    )
