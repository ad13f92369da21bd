"""Weights from files: what `load_state_dict` takes is loaded as it does, wherever it lies; all else is one line."""

import functools
import zipfile
from collections import OrderedDict

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torchvision.models import VisionTransformer
from torchvision.ops import FrozenBatchNorm2d

from equivariance.errors import UserError
from equivariance.study.models import weights

pytestmark = pytest.mark.slow


def convolutional(norm=nn.BatchNorm2d, change=lambda convolution: convolution):
    return nn.Sequential(change(nn.Conv2d(1, 3, 3)), norm(3), nn.Conv2d(3, 2, 1))


def with_norm(new):
    return convolutional(change=parametrizations.weight_norm if new else nn.utils.weight_norm)


def vit(old=False):
    model = VisionTransformer(8, 4, 1, 1, 8, 8, num_classes=2)
    names = {"mlp.0.": "mlp.linear_1.", "mlp.3.": "mlp.linear_2."} if old else {}
    model.older_names = names
    return model


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3)
        self.b.weight = self.a.weight


class Versioned(nn.Conv2d):
    """Weights of version 1 are doubled: right only where the file's versions arrive."""

    _version = 2

    def __init__(self):
        super().__init__(1, 2, 3)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *more):
        if local_metadata.get("version", 1) < 2:
            state_dict[f"{prefix}weight"] = 2 * state_dict[f"{prefix}weight"]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *more)


class Extra(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        self.scale = float(torch.rand(()))

    def get_extra_state(self):
        return {"scale": self.scale}

    def set_extra_state(self, state):
        self.scale = state["scale"]


def lazy():
    return nn.Sequential(nn.LazyConv2d(2, 3), nn.LazyBatchNorm2d())


def not_lazy():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


PAIRS = {  # what was saved, and what loads it
    "batch norm": (convolutional, convolutional),
    "frozen batch norm": (convolutional, functools.partial(convolutional, FrozenBatchNorm2d)),
    "weight norm": (functools.partial(with_norm, True), functools.partial(with_norm, True)),
    "older weight norm": (functools.partial(with_norm, False), functools.partial(with_norm, True)),
    "old weight norm": (functools.partial(with_norm, False), functools.partial(with_norm, False)),
    "spectral norm": (functools.partial(convolutional, change=parametrizations.spectral_norm),) * 2,
    "older ViT": (functools.partial(vit, True), vit),
    "tied": (Tied, Tied),
    "versions": (lambda: nn.Sequential(Versioned()),) * 2,
    "extra state": (Extra, Extra),
    "lazy": (not_lazy, lazy),
}


def state_of(model, start=""):
    """Its state dict as wrapped modules have it."""
    state = nn.ModuleDict({"net": model}).state_dict() if start else model.state_dict()
    older = getattr(model, "older_names", {})
    for name in list(state):
        new = functools.reduce(lambda name, part: name.replace(part, older[part]), older, name)
        state[new.replace("net.", start, 1) if start else new] = state.pop(name)
    if start:
        versions = {f"{name}.".replace("net.", start, 1)[:-1]: each for name, each in state._metadata.items()}
        state._metadata.clear()
        state._metadata.update(versions)
    if older:
        state._metadata.clear()
    return state


def joined(*states):
    """One state dict, with the versions of all."""
    whole = OrderedDict(pair for state in states for pair in state.items())
    whole._metadata = {name: each for state in states for name, each in getattr(state, "_metadata", {}).items()}
    return whole


PLACES = {  # of the weights A, beside others B, and the key that asks for them
    "bare": lambda a, b: (state_of(a), None),
    "wrapped": lambda a, b: (state_of(a, "module._orig_mod."), None),
    "torchvision": lambda a, b: ({"model": state_of(a), "model_ema": state_of(b, "module."), "epoch": 3}, None),
    "averaged": lambda a, b: (joined(state_of(a, "module."), {"n_averaged": torch.tensor(3)}), "module"),
    "MoCo": lambda a, b: (
        {"state_dict": joined(state_of(a, "module.encoder_q."), state_of(b, "module.encoder_k."))},
        "encoder_q",
    ),
    "DINO": lambda a, b: (
        {"student": state_of(b, "module.backbone."), "teacher": state_of(a, "backbone.")},
        "teacher",
    ),
    "Lightning": lambda a, b: (
        {
            "state_dict": joined(state_of(a, "net."), {"loss.weight": torch.ones(2)}),
            "hyper_parameters": {"optimizer": functools.partial(torch.optim.Adam, lr=0.1), "depth": range(3)},
        },
        None,
    ),
    "Lightning's average": lambda a, b: (
        {"state_dict": state_of(b, "net."), "callbacks": {"EMA": {"weights": state_of(a, "net.")}}},
        "callbacks.EMA",
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_a_file_loads_as_load_state_dict_does(pair, tmp_path):
    """Of each network in each place, as zip and in the old format, the same as the module itself makes of it."""
    saved, made = PAIRS[pair]
    a, b, expected = saved(), saved(), made()
    expected.load_state_dict(state_of(a))
    for place, lay in PLACES.items():
        content, key = lay(a, b)
        for zipped in (True, False):
            torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
            model = made()
            weights.load(model, tmp_path / "net.pth", key)
            assert weights.digest(model) == weights.digest(expected), place


def test_tied_weights_in_safetensors_are_loaded_once(tmp_path):
    saved, model = Tied(), Tied()
    safetensors.torch.save_model(saved, tmp_path / "net.safetensors")
    assert len(weights.read(tmp_path / "net.safetensors")) == 2
    weights.load(model, tmp_path / "net.safetensors")
    assert weights.digest(model) == weights.digest(saved) and model.b.weight is model.a.weight


NOT_WEIGHTS = {
    "int8": lambda value: (50 * value).to(torch.int8),
    "bool": lambda value: value > 0,
    "complex": lambda value: torch.complex(value, value),
    "sparse": lambda value: value.to_sparse(),
    "quantised": lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
    "meta": lambda value: value.to("meta"),
    "wider": lambda value: torch.cat([value, value]),
}


@pytest.mark.parametrize("kind", NOT_WEIGHTS)
@pytest.mark.parametrize("network", [convolutional, functools.partial(convolutional, FrozenBatchNorm2d), vit])
def test_what_are_no_weights_is_refused(kind, network, tmp_path):
    """One tensor after the other."""
    model = network()
    state = model.state_dict()
    for name in [name for name, value in state.items() if value.is_floating_point()]:
        torch.save({**state, name: NOT_WEIGHTS[kind](state[name])}, tmp_path / "net.pt")
        with pytest.raises(UserError, match=r"net.pt: [^\n]*" + name.replace(".", r"\.")):
            weights.load(model, tmp_path / "net.pt")


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path):
    model, file = convolutional(), tmp_path / "net.pt"
    torch.save(model.state_dict(), file)
    whole = file.read_bytes()
    start = whole.find(model[0].weight.detach().numpy().tobytes())
    for place in range(start, start + 27 * 4):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        with pytest.raises(
            UserError, match=r"damaged: the checksum of archive/data/0|damaged: the checksum of net"
        ):
            weights.load(model, file)
    assert zipfile.ZipFile(file).testzip()


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "k" * 10**6, "a.\u202eb", "\ud800", "." * 1000, ""])
def test_any_name_is_shown_in_a_short_line(name, tmp_path):
    for content in ({name: torch.zeros(1)}, {name: {name: torch.zeros(1)}}, {name: 1}, {"x": {name: [1]}}):
        torch.save(content, tmp_path / "net.pt")
        for key in (None, "other"):
            with pytest.raises(UserError) as refused:
                weights.load(convolutional(), tmp_path / "net.pt", key)
            assert str(refused.value).isprintable() and len(str(refused.value)) < 1000
