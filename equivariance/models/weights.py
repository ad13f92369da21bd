"""Weights from a file, a state dict saved by torch.save or safetensors; and which they are."""

import hashlib
import pickle
import textwrap
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from equivariance.errors import UserError

ENDINGS = (".pt", ".pth", ".th", ".bin", ".safetensors")
FORMATS = "a state dict as .safetensors, or .pt, .pth, .th of torch.save(model.state_dict(), FILE)"


def load(model: nn.Module, file: str | Path) -> None:
    """Load a state dict into the model; one under another network's names goes through its `our_names`, if any.

    Raises:
        UserError: the file is missing or unreadable, or its names or shapes are not the model's.
    """
    state = read(file)
    if hasattr(model, "our_names"):
        state = model.our_names(state)
    _check(model, state, file)
    model.load_state_dict(state)


def read(file: str | Path) -> dict[str, Tensor]:
    """The state dict in a file. Nothing in it is executed: safetensors, or torch.load with `weights_only`.

    It may lie inside a checkpoint under `state_dict` or `model`, and its names may begin with `module.`, as
    DataParallel writes them.

    Raises:
        UserError: there is no such file, it holds something else, or more than tensors.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"model.weights={file}: there is no such file; give {FORMATS}")
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"model.weights={file}: holds more than tensors, or no tensors; it is not opened, as that could run "
            f"code from it; give {FORMATS}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        cause = textwrap.shorten(str(error).strip() or type(error).__name__, 120, placeholder=" ...")
        raise UserError(f"model.weights={file}: cannot be read as tensors ({cause}); give {FORMATS}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not (isinstance(state, dict) and state and all(isinstance(value, Tensor) for value in state.values())):
        raise UserError(f"model.weights={file}: holds no state dict; give {FORMATS}")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def digest(model: nn.Module) -> str:
    """Identifies the weights of a model."""
    content = hashlib.blake2b(digest_size=8)
    for name, value in model.state_dict().items():
        content.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def _check(model: nn.Module, state: dict[str, Tensor], file: str | Path) -> None:
    wanted = model.state_dict()
    counters = [name for name in wanted if name.endswith("num_batches_tracked")]  # not there before PyTorch 0.4.1
    problems = [f"{name} is missing" for name in wanted if name not in state and name not in counters]
    problems += [f"{name} is not the network's" for name in state if name not in wanted]
    problems += [
        f"{name} is {tuple(state[name].shape)}, the network's is {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    if problems:
        named = "; ".join(problems[:2]) + (f" and {len(problems) - 2} more" if len(problems) > 2 else "")
        raise UserError(f"model.weights={file} is of another network than {type(model).__name__}: {named}")
    state |= {name: wanted[name] for name in counters if name not in state}
