"""Weights from a file: a state dict saved by torch.save or as safetensors. Nothing in a file is ever executed."""

import hashlib
import pickle
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from equivariance.errors import UserError

ENDINGS = (".pt", ".pth", ".th", ".bin", ".safetensors")
FORMATS = "a state dict as .safetensors, or .pt, .pth, .th of torch.save(model.state_dict(), FILE)"
PREFERRED = ("state_dict", "model")  # where a checkpoint holds several state dicts
# What checkpoints hold beside tensors: options, numbers of NumPy, paths. Nothing of them is imported or called;
# each is read as an `_Ignored` or an empty dictionary.
HARMLESS = (
    *("argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath"),
    *("builtins.list", "builtins.dict", "typing.Any", "numpy.dtype", "numpy.ndarray"),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig", "nodes.AnyNode")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
)
HARMLESS_DICTIONARIES = (
    "collections.defaultdict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)


class _Ignored:
    """Stands for an object that is no tensor: it takes all that an unpickler does to it, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Dictionary:
    """Becomes a plain dictionary, the only one that torch's unpickler writes into."""

    def __new__(cls, *args: Any, **kwargs: Any) -> dict:  # type: ignore[misc]
        return {}


def load(model: nn.Module, file: str | Path, key: str | None = None, in_order: bool = False) -> None:
    """Load a state dict into the model.

    Names may begin with what wrappers put before them, such as `module.` or `model.`. Names of another network go
    through the model's `our_names`, if it has any.

    Args:
        key: see `read`.
        in_order: the file names the model's tensors otherwise, but holds them in the model's order.
    """
    state, names = read(file, key), set(model.state_dict())
    if hasattr(model, "our_names") and not any(name.endswith(min(names)) for name in state):
        state = model.our_names({name.removeprefix("module."): state[name] for name in state})  # type: ignore[operator]
    if in_order and len(state) == len(names):
        state = dict(zip(model.state_dict(), state.values(), strict=True))
    state = _without_prefix(state, names, file)
    _check(model, state, file)
    model.load_state_dict(state)


def read(file: str | Path, key: str | None = None) -> dict[str, Tensor]:
    """The state dict in a file, read as safetensors or by torch.load with `weights_only`.

    Args:
        key: where it lies inside a checkpoint, such as `ema` or `ema.model`, or the beginning of its names. By
            default it is the file's only state dict, or the one under `state_dict` or `model`.
    """
    content = _content(file)
    found = dict(_state_dicts(content))
    if key:
        state = found.get(key) or _beginning_with(found.get("", content), key)
    elif "" in found or len(found) == 1:
        state = found.get("") or next(iter(found.values()))
    else:
        state = next((found[name] for name in PREFERRED if name in found), {})
    if state:
        return state
    keys = f"its keys are {_some(list(content))}" if isinstance(content, dict) else "it is no dictionary"
    if not found:
        raise UserError(f"model.weights={file}: holds no state dict ({keys}); give {FORMATS}")
    wrong = f"holds no {key}" if key else "holds several state dicts"
    raise UserError(f"model.weights={file}: {wrong} ({keys}); choose by model.weights_key one of {_some([*found])}")


def digest(model: nn.Module) -> str:
    """Identifies the weights of a model."""
    return digest_of(model.state_dict())


def digest_of(state: dict[str, Tensor]) -> str:
    """The same of a state dict."""
    content = hashlib.blake2b(digest_size=8)
    for name, value in state.items():
        content.update(name.encode() + value.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def _content(file: str | Path) -> Any:
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"model.weights={file}: there is no such file; give {FORMATS}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        known: Any = [(_Ignored, name) for name in HARMLESS] + [
            (_Dictionary, name) for name in HARMLESS_DICTIONARIES
        ]
        with torch.serialization.safe_globals(known):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"model.weights={file}: holds more than tensors, or no tensors; it is not opened, as that could run "
            f"code from it; give {FORMATS}"
        ) from error
    except Exception as error:  # garbage makes the readers raise anything
        cause = textwrap.shorten(str(error).strip() or type(error).__name__, 120, placeholder=" ...")
        raise UserError(f"model.weights={file}: cannot be read as tensors ({cause}); give {FORMATS}") from error


def _state_dicts(content: Any, path: str = "", depth: int = 3) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """All dictionaries of tensors, with the keys that lead to them, joined by dots."""
    if not (isinstance(content, dict) and content and all(isinstance(key, str) for key in content)) or not depth:
        return
    if all(isinstance(value, Tensor) for value in content.values()):
        yield path, content
    else:
        for key, value in content.items():
            yield from _state_dicts(value, f"{path}.{key}" if path else key, depth - 1)


def _beginning_with(content: Any, key: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a key, without it."""
    state = content if isinstance(content, dict) else {}
    start = f"{key}."
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def _without_prefix(state: dict[str, Tensor], names: set[str], file: str | Path) -> dict[str, Tensor]:
    """The tensors of the network, without what a wrapper puts before their names; as they are if none fits."""
    if not names or names & state.keys():
        return state
    first = min(names)
    starts = [name.removesuffix(first) for name in state if name.endswith(f".{first}")]
    parameters = [name for name in names if not name.endswith("num_batches_tracked")]
    fitting = [start for start in starts if all(start + name in state for name in parameters)]
    if len(fitting) > 1:
        raise UserError(
            f"model.weights={file}: holds the network several times; choose by model.weights_key one of "
            f"{', '.join(start.removesuffix('.') for start in fitting)}"
        )
    start = (fitting or [""])[0]
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


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
        raise UserError(
            f"model.weights={file} is of another network than {type(model).__name__}: {named}; "
            f"the file has {_some([*state])}"
        )
    state |= {name: wanted[name] for name in counters if name not in state}


def _some(names: list[Any]) -> str:
    return ", ".join(map(str, names[:4])) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "none"
