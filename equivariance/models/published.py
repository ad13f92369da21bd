"""Published weights of the CIFAR ResNets: github.com/akamaster/pytorch_resnet_cifar10."""

import re
import textwrap
from pathlib import Path

import torch
from torch import Tensor

from equivariance.errors import UserError
from equivariance.models.resnet import ResNet

SOURCE = "the weights of a CIFAR ResNet from akamaster/pytorch_resnet_cifar10"


def load_published(model: ResNet, path: str | Path) -> None:
    """Load a published state dict, alone or under the key `state_dict`, into the network of its depth.

    The images must be normalised as for its training, with ImageNet's mean and deviation.

    Raises:
        UserError: there is no such file, it holds something else, or weights of another network.
    """
    state = _read(Path(path))
    blocks = len(model.blocks) // 3
    try:
        model.load_state_dict({our_name(name, blocks): value for name, value in state.items()})
    except RuntimeError as error:
        network = f"ResNet-{6 * blocks + 2} for {model.final.out_features} classes"
        detail = textwrap.shorten(str(error).splitlines()[1], 110, placeholder=" ...")
        raise UserError(f"model.weights={path} is of another network than {network}: {detail}") from error


def our_name(name: str, blocks: int) -> str:
    """Their name of a parameter in ours: `module.layer2.0.conv1.weight` is `blocks.7.conv1.weight` of ResNet-44.

    Args:
        name: theirs; what is not in their networks stays as it is.
        blocks: blocks of a stage.
    """
    name = name.removeprefix("module.")
    for theirs, ours in (("conv1.", "stem.0."), ("bn1.", "stem.1."), ("linear.", "final.")):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)

    def block(match: re.Match) -> str:
        return f"blocks.{(int(match[1]) - 1) * blocks + int(match[2])}."

    return re.sub(r"^layer([123])\.(\d+)\.", block, name)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"model.weights={path}: there is no such file; give {SOURCE}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever bytes that are no checkpoint make the reader raise
        content = None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not (isinstance(state, dict) and state and all(isinstance(value, Tensor) for value in state.values())):
        raise UserError(f"model.weights={path} holds no state dict of tensors; give {SOURCE}")
    return state
