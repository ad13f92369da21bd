"""Networks that others trained and published: a table of files, and how each is built and fed."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.study.config import published_networks as table
from equivariance.study.data.classes import CIFAR10, imagenet_classes
from equivariance.study.models import library, weights

TARGET = f"{__name__}.network"


def network(network: str, weights_dir: str, pretrained: bool = True, blur: Sequence[str] = ()) -> nn.Module:
    """A network of the table, with its published weights.

    Args:
        network: its name in the table.
        weights_dir: the folder that holds the table's files.
        pretrained: False builds it untrained; no file is needed.
        blur: names of modules whose input is blurred by the binomial filter [1, 2, 1] (Zhang 2019), such as those
            with a stride; the weights stay as they are.
    """
    from timm.layers import BlurPool2d  # here, as importing timm takes a second

    row = entry(network)
    file = checked_file(row, Path(weights_dir).expanduser()) if pretrained else None
    theirs = {"weights": file and str(file)} if row["model"]["_target_"].endswith("torchvision_network") else {}
    model = instantiate(row["model"], **theirs)
    if file and row.get("codebooks"):
        model.load_state_dict(from_codebooks(weights.read(file), model.state_dict()))
    elif file and not theirs:
        weights.load(model, file, in_order=row.get("in_order", False))
    for name in blur:
        try:
            module = model.get_submodule(name)
        except AttributeError as error:
            raise UserError(f"model.blur={name}: {network} has no module of this name") from error
        model.set_submodule(name, nn.Sequential(BlurPool2d(stride=1), module))
    return model


def from_codebooks(stored: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a network whose weights are stored as `codes_matrix` of entries of a `codebook`.

    Batch norms are folded into their weight and bias, so that mean 0 and variance 1 are left where none is stored.
    """
    state = {}
    for name, value in wanted.items():
        module = name.rpartition(".")[0]
        if f"{module}.codebook" in stored and name.endswith(".weight"):
            found = stored[f"{module}.codebook"][stored[f"{module}.codes_matrix"].long()]
        elif name in stored:
            found = stored[name]
        else:
            found = torch.full_like(value, 1 if name.endswith("running_var") else 0)
        state[name] = found.reshape(value.shape).to(value.dtype)
    return state


def entry(network: str) -> dict[str, Any]:
    """A network of the table, with what all networks of its source share."""
    if network not in table():
        raise UserError(f"model.name={network}: the table of published networks has {', '.join(table())}")
    return table()[network]


def classes(network: str) -> list[str]:
    """The classes of its logits, in their order."""
    return list(CIFAR10) if entry(network)["dataset"] == "cifar10" else imagenet_classes()


def preprocessing(network: str, size: Sequence[int] | None = None) -> dict[str, Any]:
    """What the network was made for, see `library.preprocessing`."""
    row = entry(network)
    if row["model"]["_target_"].startswith(f"{library.__name__}."):
        return library.preprocessing({"weights": None} | row["model"], size)  # type: ignore[return-value]
    return library.images_of(size or (row["size"],), row["mean"], row["std"])


def checked_file(row: dict[str, Any], folder: Path) -> Path:
    """The file of a network, its content checked by the table's digest (SHA-256)."""
    file = folder / row["file"]
    if not file.is_file():
        raise UserError(
            f"{file} is not there: it is {origin(row)}; weights_dir=FOLDER names another place, and "
            f"python scripts/public.py FOLDER lists all files"
        )
    with open(file, "rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != row["sha256"]:
        raise UserError(f"{file} is not the table's file: its SHA-256 is {found}, not {row['sha256']}")
    return file


def origin(row: dict[str, Any]) -> str:
    """Where a file comes from, as text."""
    place = f"{row['path']} of {row['repository']}" + (f" at commit {row['commit']}" if row.get("commit") else "")
    change = f", {row['conversion']}" if row.get("conversion") else ""
    return f"{place} (licence: {row['licence']}){change}"
