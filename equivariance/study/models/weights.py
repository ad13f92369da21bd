"""Weights from a file: a state dict saved by torch.save or as safetensors. Nothing in a file is ever executed."""

import hashlib
import re
import textwrap
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from equivariance.errors import UserError

ENDINGS = (".pt", ".pth", ".th", ".bin", ".safetensors")
FORMATS = "a state dict as .safetensors, or .pt, .pth, .th of torch.save(model.state_dict(), FILE)"
PREFERRED = ("", "state_dict", "model")  # places in a file that holds the network several times


class _Ignored(list):
    """Stands for an object that is no tensor: it takes all that an unpickler does to it, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


class _Dictionary:
    """Stands for a kind of dictionary: becomes a plain one, into which torch's unpickler writes."""

    def __new__(cls, *args: Any, **kwargs: Any) -> dict:  # type: ignore[misc]
        return {}


def load(model: nn.Module, file: str | Path, key: str | None = None, in_order: bool = False) -> None:
    """Load the state dict in a file that the model's own `load_state_dict` takes, all names and shapes its own.

    Names may begin with what wrappers put before them, such as `module.` or `model.`. Names of another network go
    through the model's `our_names`, if it has any.

    Args:
        key: where it lies inside a checkpoint, such as `ema` or `ema.model`: keys and the beginning of names,
            joined by dots. By default the only one that fits, or the one under `state_dict` or `model`.
        in_order: the file names the model's tensors otherwise, but holds them in the model's order.
    """
    content = read(file)
    parameters = sum(1 for _ in model.parameters())
    found = dict(_state_dicts(content, max(1, parameters)))
    asked = {place: state for place, state in found.items() if not key or f".{key}." in f".{place}."}
    problems = {place: _load(model, state, in_order) for place, state in asked.items()}
    fitting = [place for place, problem in problems.items() if not problem]
    if not found:
        there = "it is no dictionary; a whole module is not opened, as that could run code from it"
        there = f"its keys are {_some(content)}" if isinstance(content, dict) else there
        raise _refused(file, f"holds no state dict ({there}); give {FORMATS}")
    if not asked:
        raise _refused(file, f"holds no {key}; choose by model.weights_key one of {_some(found)}")
    if not fitting:
        names = model.state_dict().keys()
        closest = max(asked, key=lambda place: len(names & asked[place].keys()))
        of = f"is of another network than {type(model).__name__}"
        raise _refused(file, f"{of}: {problems[closest]}; the file has {_some(asked[closest])}")
    if (chosen := _chosen(fitting, [key] if key else PREFERRED)) is None:
        raise _refused(file, f"holds the network several times; choose a model.weights_key: {_some(fitting)}")
    if len(asked) > 1:
        _load(model, asked[chosen], in_order)


def read(file: str | Path) -> Any:
    """The content of a file, read as safetensors or by torch.load with `weights_only`.

    Of a checkpoint's other objects, such as options, nothing is imported or called: they become `_Ignored`.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise _refused(file, f"there is no such file; give {FORMATS}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if zipfile.is_zipfile(path) and (damaged := zipfile.ZipFile(path).testzip()):
            raise ValueError(f"damaged: the checksum of {damaged} is another one")
        return _unpickled(path)
    except Exception as error:  # garbage makes the readers raise anything
        said = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        said = said or type(error).__name__
        cause = textwrap.shorten(said, 120, placeholder=" ...")
        raise _refused(file, f"cannot be read as tensors ({cause}); give {FORMATS}") from error


def digest(model: nn.Module) -> str:
    """Identifies the weights of a model."""
    return digest_of(model.state_dict())


def digest_of(state: dict[str, Any]) -> str:
    """The same of a state dict."""
    content = hashlib.blake2b(digest_size=8)
    for name, value in state.items():
        tensor = isinstance(value, Tensor)  # extra state may be anything
        data = value.cpu().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor else repr(value).encode()
        content.update(name.encode() + data)
    return content.hexdigest()


def _unpickled(path: Path) -> Any:
    ignored: dict[str, Any] = {}
    while True:
        names: list[Any] = [(what, start + name) for name, what in ignored.items() for start in ("", "builtins.")]
        try:
            with torch.serialization.safe_globals(names):
                return torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError as error:
            if "Trying to call reduce" in str(error):
                raise ValueError("holds more than tensors, and could run code from it") from error
            unknown = re.search(r"GLOBAL (.+?) was not an allowed", str(error))
            if not unknown or unknown[1] in ignored:
                raise
            ignored[unknown[1]] = _Dictionary if unknown[1].lower().endswith("dict") else _Ignored


def _state_dicts(content: Any, least: int, place: str = "", depth: int = 5) -> Iterator[tuple[str, dict[str, Any]]]:
    """All state dicts of at least so many tensors, with where they lie: keys and beginnings of names."""
    if not isinstance(content, dict) or not depth:
        return
    state = {name: v for name, v in content.items() if isinstance(name, str) and isinstance(v, Tensor)}
    starts = Counter(name[: dot.end()] for name in state for dot in re.finditer(r"\.", name))
    for start in ["", *(start for start, count in starts.items() if count >= least)] if state else []:
        names = (name for name in content if name in state or str(name).endswith("_extra_state"))
        inside = (name for name in names if name.startswith(start))
        of: OrderedDict[str, Any] = OrderedDict((name.removeprefix(start), content[name]) for name in inside)
        versions = getattr(content, "_metadata", {})  # of the modules, by which they read older weights
        versions = {f"{module}.".removeprefix(start)[:-1]: version for module, version in versions.items()}
        of._metadata = versions  # type: ignore[attr-defined]
        yield f"{place}.{start}".strip("."), of
    for name, value in content.items():
        if isinstance(name, str):  # an optimiser's are numbers
            yield from _state_dicts(value, least, f"{place}.{name}".strip("."), depth - 1)


def _chosen(places: list[str], preferred: Iterable[str]) -> str | None:
    """The only place, or the preferred one, or the only one inside the preferred one."""
    for start in preferred:
        if start in places:
            return start
        inside = [place for place in places if place.startswith(f"{start}.")]
        if len(inside) == 1:
            return inside[0]
    return places[0] if len(places) == 1 else None


def _load(model: nn.Module, state: dict[str, Any], in_order: bool) -> str:
    """Have the model load a state dict; what hinders it, empty for nothing."""
    wanted = model.state_dict()
    if in_order and len(state) == len(wanted):
        state = dict(zip(wanted, state.values(), strict=True))
    elif hasattr(model, "our_names") and not wanted.keys() & state.keys():
        state = model.our_names(state)  # type: ignore[operator]
    tied = [*model.named_parameters(remove_duplicate=False)]  # safetensors keep one of several names
    there = {id(parameter): state[name] for name, parameter in tied if name in state}
    for name, parameter in tied:
        if id(parameter) in there:
            state.setdefault(name, there[id(parameter)])
    try:
        missing, unknown = model.load_state_dict(state, strict=False)
    except Exception as error:  # of other shapes, or whatever a module's own way to load raises
        return textwrap.shorten(str(error).partition("\n")[2] or str(error), 300, placeholder=" ...")
    for name, value in state.items():
        if not isinstance(value, Tensor) or name in unknown:
            continue
        here = wanted.get(name, torch.empty(0) if value.ndim else value)  # renamed on the way, or a counter
        if _kind(value) != _kind(here):
            return f"{name} has {str(value.dtype).removeprefix('torch.')} numbers, the network's are {_kind(here)}"
    problems = [(missing, "missing"), (unknown, "not the network's")]
    return "; ".join(f"{_some(names)}: {what}" for names, what in problems if names)


def _kind(tensor: Tensor) -> str:
    return "complex" if tensor.is_complex() else "floating-point" if tensor.is_floating_point() else "whole"


def _some(names: Iterable[Any]) -> str:
    shown = [str(name)[:80] or "(the file itself)" for name in names]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "") or "none"


def _refused(file: str | Path, why: str) -> UserError:
    return UserError(f"model.weights={file}: {why}")
