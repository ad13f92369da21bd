"""Weights: from a file of the user's, a state dict saved by torch.save or safetensors; and which they are."""

import hashlib
import pickle
from pathlib import Path

import torch
from torch import nn

from equivariance.errors import UserError


def load(model: nn.Module, file: str) -> None:
    """Load a state dict into the model.

    It may lie inside a checkpoint under `state_dict` or `model`, and its names may begin with `module.`, as
    DataParallel writes them.

    Raises:
        UserError: the file is missing or unreadable, or its names or shapes are not the model's.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"model.weights={file}: there is no such file")
    try:
        state = _read(path)
    except (RuntimeError, EOFError, OSError, ValueError, ImportError, pickle.UnpicklingError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"model.weights={file}: cannot be read as tensors ({cause}); save model.state_dict()"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"model.weights={file}: holds no state dict; save model.state_dict()")
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    _check(model, state, file)
    model.load_state_dict(state)


def digest(model: nn.Module) -> str:
    """Identifies the weights of a model."""
    content = hashlib.blake2b(digest_size=8)
    for name, value in model.state_dict().items():
        content.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def _read(path: Path):
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _check(model: nn.Module, state: dict, file: str) -> None:
    wanted = model.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in state]
    problems += [f"{name} is not the network's" for name in state if name not in wanted]
    problems += [
        f"{name} is {tuple(state[name].shape)}, the network's is {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    if problems:
        named = "; ".join(problems[:2]) + (f" and {len(problems) - 2} more" if len(problems) > 2 else "")
        raise UserError(f"model.weights={file} is of another network than {type(model).__name__}: {named}")
