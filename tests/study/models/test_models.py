"""The networks: published sizes, gradients, feature layers."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from equivariance.errors import UserError
from equivariance.layers.find import find_layers
from equivariance.study import models
from equivariance.study.models import CNN7, ResNet, WideResNet
from experiments.architectures_reduced.figure import NETWORKS
from tests.study.test_config import config

# Millions of parameters: He et al. 2016, Table 6; Zagoruyko & Komodakis 2016, Table 4.
RESNETS = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
WIDE_RESNETS = {1: 0.6, 2: 2.2, 4: 8.9, 8: 35.7}


def millions(model):
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


# Networks of one size for 32x32 images: sides of their maps by layer, before pooling.
FAMILIES = {
    "vit32": [8] * 9,
    "mixer32": [8] * 7,
    "efficientnet32": [16] * 6 + [8] * 4 + [4] * 3,
    "resnext29": [32] * 4 + [16] * 3 + [8] * 3,
    "inception32": [32] * 3 + [15] * 3,
    "resnet44": [32] * 8 + [16] * 7 + [8] * 7,
}


@pytest.mark.parametrize("model", [CNN7(1, 6), ResNet(1, 6, depth=20), WideResNet(1, 6, depth=10)])
def test_the_names_of_layers_can_be_asked_for(model):
    """Each by itself, and no module has two names."""
    image = torch.zeros(1, 32, 32)
    for layer in find_layers(model, image):
        (found,) = find_layers(model, image, [layer.name])
        assert (found.name, found.read.node) == (layer.name, layer.read.node)
    everything = [layer.name for layer in find_layers(model, image, ["**"])]
    assert len(everything) == len({*everything}) and not {"blocks.0"} & {*everything}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sides"), FAMILIES.items())
def test_small_networks_of_every_family(name, sides):
    """As many multiply-adds and parameters as the page says, gradients everywhere, and every block found.

    A fused attention counts for none of ViT's multiply-adds: 2 x 65^2 x 96 in each of 8 blocks, a tenth of them.
    """
    torch.manual_seed(0)
    model = models.build(config(f"model={name}").model, (3, 32, 32), 10)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    nn.init.normal_(linear[-1].weight)  # timm's Mixer begins with logits of 0
    with FlopCounterMode(display=False) as counted:
        logits = model(torch.randn(2, 3, 32, 32))
    _, adds, parameters = NETWORKS[name]
    assert logits.shape == (2, 10) and millions(model) == pytest.approx(parameters, abs=0.005)
    assert counted.get_total_flops() / 4e6 == pytest.approx(adds, rel=0.11 if name == "vit32" else 0.001)
    logits.square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, parameter_name
    layers = find_layers(model, torch.zeros(3, 32, 32))
    assert [layer.size[0] for layer in layers[:-2]] == sides
    assert [layer.part for layer in layers[-2:]] == ["pool", "final"]


@pytest.mark.parametrize(("depth", "published"), RESNETS.items())
def test_resnets_have_the_published_number_of_parameters(depth, published):
    with torch.device("meta"):
        assert millions(ResNet(3, 10, depth)) == pytest.approx(published, abs=0.05 if depth == 110 else 0.005)


@pytest.mark.parametrize(("width", "published"), WIDE_RESNETS.items())
def test_wide_resnets_have_the_published_number_of_parameters(width, published):
    with torch.device("meta"):
        assert millions(WideResNet(3, 10, 40, width)) == pytest.approx(published, abs=0.05)


@pytest.mark.parametrize(
    "model",
    [ResNet(3, 10, 8), ResNet(1, 6, 20), ResNet(3, 10, 14, "B"), WideResNet(3, 10, 10), WideResNet(1, 6, 16, 3)],
    ids=["resnet8", "resnet20", "resnet14B", "wrn10-1", "wrn16-3"],
)
def test_shapes_gradients_and_layers(model):
    channels = next(model.parameters()).shape[1]
    logits = model(torch.randn(3, channels, 32, 32))
    assert logits.shape == (3, model.final.out_features)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name
    layers = find_layers(model, torch.zeros(channels, 32, 32))
    third = len(model.blocks) // 3
    assert [layer.stride for layer in layers] == [1] * (1 + third) + [2] * third + [4] * third + [None, None]
    assert [layer.size[0] for layer in layers[:-2]] == [32] * (1 + third) + [16] * third + [8] * third
    assert [layer.name for layer in layers[-2:]] == ["pool", "final"]


def test_a_pre_activation_block_hands_on_the_sum():
    """With its last convolution at zero, a block without a projection is the identity: no ReLU follows."""
    block = WideResNet(3, 10, 10, 2).blocks[0]
    same = type(block)(32, 32, 1)
    nn.init.zeros_(same.conv2.weight)
    x = torch.randn(2, 32, 8, 8)
    assert block.projection is not None and torch.equal(same(x), x)


def test_circular_padding_has_no_border():
    """An image moved around by the coarsest stride has the same logits, up to rounding; with zeros it has not."""
    x = torch.randn(2, 3, 32, 32)
    moved = x.roll((4, 8), (-2, -1))
    for padding, same in (("circular", True), ("zeros", False)):
        torch.manual_seed(0)
        model = WideResNet(3, 10, 10, padding=padding).eval()
        with torch.inference_mode():
            assert torch.allclose(model(moved), model(x), atol=1e-4) == same, padding


def test_shortcut_a_is_every_second_position_between_zeros():
    block = ResNet(3, 10, 8).blocks[1]
    x = torch.rand(2, 16, 8, 8)
    nn.init.zeros_(block.bn2.weight)
    out = block(x)
    assert torch.equal(out[:, 8:24], x[..., ::2, ::2])
    assert out[:, :8].abs().sum() == out[:, 24:].abs().sum() == 0


@pytest.mark.parametrize(
    ("overrides", "name", "width"),
    [
        (("model=resnet44",), "resnet44", None),
        (("model=resnet44", "model.depth=20"), "resnet20", None),
        (("model=wrn40", "model.width=4"), "wrn40-4", 4),
    ],
)
def test_a_network_is_named_by_its_depth_and_width(overrides, name, width):
    cfg = config(*overrides, "runs_dir=runs")
    assert cfg.model.name == name and cfg.model.get("width") == width
    assert cfg.run_dir == f"runs/cifar10/{name}/none/seed0" and cfg.recipe.optimiser == "sgd"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNet(3, 10, 21), "model.depth=21: CIFAR ResNets have 6 n"),
        (lambda: ResNet(3, 10, shortcut="C"), "model.shortcut=C: choose A or B"),
        (lambda: WideResNet(3, 10, 41), "model.depth=41: wide ResNets have 6 n"),
        (lambda: WideResNet(3, 10, 40, 0), "model.width=0: needs a whole number"),
        (lambda: WideResNet(3, 10, 40, 1, "reflect"), "model.padding=reflect: choose zeros or circular"),
    ],
)
def test_networks_that_do_not_exist_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
