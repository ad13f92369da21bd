"""Fused modules against the plain way, and the network as it was afterwards."""

import os
from functools import partial

import pandas as pd
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from equivariance.layers.find import find_layers, tap
from equivariance.layers.fusion import fused
from equivariance.metric.equivariance import Equivariance
from equivariance.metric.measure import measure
from equivariance.statistics import onednn
from equivariance.study.checkout import EXPERIMENTS
from equivariance.study.models import CNN7, ResNet, WideResNet
from equivariance.transforms.sets import rotations

TURNS = rotations([90, 180, 270])
NETWORKS = {
    "cnn7": (lambda: CNN7(1, 6), (1, 28, 28)),
    "resnet20": (lambda: ResNet(3, 10, depth=20), (3, 32, 32)),
    "wrn16": (lambda: WideResNet(3, 10, depth=16, width=1), (3, 32, 32)),
    "torchvision resnet18": (torchvision.models.resnet18, (3, 64, 64)),
    "torchvision mobilenet": (torchvision.models.mobilenet_v3_small, (3, 64, 64)),
    "timm resnet": (lambda: timm.create_model("resnet10t"), (3, 64, 64)),
    "timm efficientnet": (lambda: timm.create_model("test_efficientnet"), (3, 64, 64)),
    "timm vit": (lambda: timm.create_model("test_vit"), (3, 160, 160)),
    "timm convnext": (lambda: timm.create_model("test_convnext"), (3, 64, 64)),
}
SURVEY = pd.read_csv(EXPERIMENTS / "survey/survey.csv").query("refused.isna()").model
needs_onednn = pytest.mark.skipif(not onednn.is_there(), reason="this PyTorch has no oneDNN")


def network(build) -> nn.Module:
    """Untrained, but with batch norms that do something."""
    torch.manual_seed(0)
    model = build().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
            ):
                values.data.uniform_(low, high)
    return model


def snapshot(model: nn.Module) -> dict:
    """All that a module holds, by identity."""
    return {(name, key): id(value) for name, module in model.named_modules() for key, value in vars(module).items()}


def maps_both_ways(model: nn.Module, images: torch.Tensor) -> tuple[dict, dict]:
    layers = find_layers(model, images[0])
    plain, fast = {}, {}
    with torch.inference_mode():
        with tap(layers, plain.__setitem__):
            model(images)
        with fused(layers.chains), tap(layers, fast.__setitem__):
            model(images)
    return plain, fast


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_those_of_the_plain_way(name):
    build, shape = NETWORKS[name]
    plain, fast = maps_both_ways(network(build), torch.randn(4, *shape))
    for layer, maps in plain.items():
        assert (maps - fast[layer]).abs().max() < 1e-5 * maps.abs().max(), layer


@pytest.mark.parametrize("name", ["cnn7", "resnet20", "timm efficientnet", "timm vit"])
def test_scores_are_those_of_the_plain_way(name):
    build, shape = NETWORKS[name]
    model, images = network(build), 3 * F.interpolate(torch.randn(8, shape[0], 5, 5), shape[1:], mode="bilinear")
    arguments = {"over": ["image", "dataset"], "blocks": 1}
    fast = measure(model, images, TURNS, **arguments)
    metric = Equivariance(model, images[0], TURNS, **arguments, exact_eager=True)
    assert not metric.chains
    metric.update(images)
    plain = metric.compute()
    for column in ("value", "chance", "activation"):
        assert (plain[column] - fast[column]).abs().max() < 1e-5, column


@needs_onednn
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("cnn7", {"Conv2d, BatchNorm2d, ReLU"}),
        ("timm efficientnet", {"Conv2d, BatchNormAct2d, SiLU"}),
        ("timm vit", {"Linear, None, GELU"}),
        ("timm convnext", {"Linear, None, GELUTanh"}),
        ("torchvision mobilenet", {"Conv2d, BatchNorm2d, Hardswish", "Conv2d, BatchNorm2d, ReLU"}),
    ],
)
def test_what_follows_a_product_alone_is_computed_with_it(name, kinds):
    build, shape = NETWORKS[name]
    chains = find_layers(network(build), torch.randn(shape)).chains

    def kind(module):
        return "None" if module is None else type(module).__name__

    found = {", ".join(map(kind, (each.product, each.norm, each.activation))) for each in chains}
    assert kinds <= found


class Branches(nn.Module):
    """A convolution whose output is used twice, one that is looked at, and one that nobody else uses."""

    def __init__(self):
        super().__init__()
        self.twice, self.norm1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.seen, self.norm2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.alone, self.norm3, self.relu = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        both = self.twice(x)
        x = self.norm1(both) + both
        x = self.norm2(self.seen(x))
        return self.head(self.relu(self.norm3(self.alone(x))).mean((2, 3)))


def products(layers) -> list[nn.Module]:
    return [chain.product for chain in layers.chains if chain.norm is not None]


def test_nothing_is_fused_that_somebody_looks_at():
    model = network(Branches)
    image = torch.randn(3, 8, 8)
    assert products(find_layers(model, image, ["norm1", "relu"])) == [model.seen, model.alone]
    assert products(find_layers(model, image, ["seen", "relu"])) == [model.alone]
    assert products(find_layers(model, image, ["norm3"])) == [model.seen, model.alone]
    assert [c.activation for c in find_layers(model, image, ["norm3"]).chains if c.product is model.alone] == [None]
    seen = []
    handle = model.alone.register_forward_hook(lambda module, inputs, output: seen.append(output))
    assert products(find_layers(model, image, ["relu"])) == [model.seen]
    handle.remove()
    model.norm2.track_running_stats, model.norm2.running_mean = False, None
    model.norm2.running_var = None
    assert products(find_layers(model, image, ["relu"])) == [model.alone]


def test_the_network_is_as_it_was_afterwards_also_after_an_error():
    model = network(Branches)
    layers = find_layers(model, torch.randn(3, 8, 8), ["norm1", "norm2", "relu"])
    before = snapshot(model)
    with fused(layers.chains):
        model(torch.randn(2, 3, 8, 8))
        assert (snapshot(model) != before) == onednn.is_there()
        assert [name for name, _ in model.named_parameters()] == [
            name for name in model.state_dict() if "run" not in name and "num" not in name
        ]
    assert snapshot(model) == before
    with pytest.raises(RuntimeError), fused(layers.chains):
        model(torch.randn(2, 4, 8, 8))
    assert snapshot(model) == before


def test_a_model_in_float64_is_left_alone():
    model = network(Branches).double()
    chains = find_layers(model, torch.randn(3, 8, 8).double()).chains
    images, before = torch.randn(2, 3, 8, 8).double(), snapshot(model)
    plain = model(images)
    with fused(chains):
        assert snapshot(model) == before and torch.equal(model(images), plain)


@needs_onednn
@pytest.mark.parametrize("shape", [(70, 64), (3, 130, 65)])
def test_a_product_by_the_other_library_is_the_same(shape, monkeypatch):
    torch.manual_seed(0)
    layer, x = nn.Linear(shape[-1], 96), torch.randn(shape)
    assert torch.allclose(onednn.linear(x, layer.weight, layer.bias), layer(x), atol=1e-5)
    a, b, sums = torch.randn(500, 70), torch.randn(500, 66), torch.randn(70, 66)
    expected = sums.double() + 0.5 * a.double().T @ b.double()
    for faster in (False, True):
        monkeypatch.setattr(onednn, "is_faster", lambda *_, faster=faster: faster)
        found = sums.clone()
        onednn.add_product(found, a, b, 0.5)
        assert (found - expected).abs().max() < 1e-4


@needs_onednn
def test_the_faster_library_is_measured_once_for_each_size(monkeypatch):
    onednn.is_faster.cache_clear()
    onednn._is_faster.cache_clear()
    runs = []
    monkeypatch.setattr(onednn, "linear", lambda x, *_: runs.append(x.shape))
    assert onednn.is_faster("sums", 20, 20) is False and not runs
    assert onednn.is_faster("linear", 100, 200) is True and len(runs) == 5  # nothing is faster than doing nothing
    assert onednn.is_faster("linear", 127, 255) is True and len(runs) == 5
    onednn.is_faster.cache_clear()
    onednn._is_faster.cache_clear()


def test_without_onednn_everything_is_computed_the_plain_way(monkeypatch):
    monkeypatch.setattr(onednn, "is_there", lambda: False)
    model = network(Branches)
    before = snapshot(model)
    with fused(find_layers(model, torch.randn(3, 8, 8)).chains):
        assert snapshot(model) == before


@pytest.mark.skipif("EVERY_NETWORK" not in os.environ, reason="136 networks: EVERY_NETWORK=1, some ten minutes")
@pytest.mark.parametrize("name", SURVEY)
def test_maps_of_the_surveys_networks_are_those_of_the_plain_way(name):
    library, _, its_name = name.rpartition(":")
    build = getattr(torchvision.models, its_name) if library else partial(timm.create_model, name)
    model = network(build)
    shape = getattr(model, "default_cfg", {}).get("input_size", (3, 224, 224))
    images = torch.randn(2, *shape)
    plain, fast = maps_both_ways(model, images)
    nudged, _ = maps_both_ways(model, images * (1 + 3e-7))  # untrained visformer_tiny amplifies rounding errors
    for layer, maps in plain.items():
        bound = 1e-5 * maps.abs().max() + 3 * (maps - nudged[layer]).abs().max()
        assert (maps - fast[layer]).abs().max() <= bound, layer
