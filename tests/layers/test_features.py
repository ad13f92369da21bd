"""The layers of any network: which they are, their layout, stride and part, checked on the network itself."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from equivariance.errors import UserError
from equivariance.layers.find import find_layers, tap
from equivariance.layers.record import trunk
from equivariance.study.models import CNN7, ResNet
from equivariance.study.models.in_order import InOrder

# name, side of the image, stem, layout of the last block, and the blocks (stem included) at each stride
FAMILIES = [
    ("test_resnet", 96, "act1", "n c h w", {2: 1, 4: 1, 8: 1, 16: 1, 32: 1}),
    ("resnext50_32x4d", 64, "act1", "n c h w", {2: 1, 4: 3, 8: 4, 16: 6, 32: 3}),
    ("resnetv2_18", 64, "stem", "n c h w", {4: 3, 8: 2, 16: 2, 32: 2}),
    ("skresnet18", 64, "act1", "n c h w", {2: 1, 4: 2, 8: 2, 16: 2, 32: 2}),
    ("test_efficientnet", 96, "bn1", "n c h w", {2: 2, 4: 2, 8: 3, 16: 4, 32: 4}),
    ("mixnet_s", 64, "bn1", "n c h w", {2: 2, 4: 2, 8: 4, 16: 6, 32: 4}),
    ("mobilenetv3_small_050", 64, "bn1", "n c h w", {2: 1, 4: 1, 8: 2, 16: 5, 32: 4}),
    ("test_convnext", 160, "stem", "n c h w", {4: 2, 8: 2, 16: 4, 32: 2}),
    ("regnetx_002", 64, "stem", "n c h w", {2: 1, 4: 1, 8: 1, 16: 4, 32: 7}),
    ("densenet121", 64, "features.norm0", "n c h w", {2: 1, 4: 1, 8: 2, 16: 2, 32: 2}),
    ("inception_v3", 96, "Conv2d_4a_3x3", "n c h w", {4: 1, 8: 3, 16: 5, 32: 3}),
    ("poolformerv2_s12", 64, "stem", "n c h w", {4: 3, 8: 2, 16: 6, 32: 2}),
    ("test_mambaout", 160, "stem.norm2", "n h w c", {4: 2, 8: 1, 16: 3, 32: 1}),
    ("test_coatnet", 160, "stem.conv2", "n c h w", {2: 1, 4: 1, 8: 1, 16: 2, 32: 1}),
    ("test_maxvit", 160, "stem.conv2", "n h w c", {2: 1, 4: 3, 8: 3, 16: 3, 32: 3}),
    ("test_vit", 160, "patch_embed", "n 1+hw c", {16: 7}),
    ("test_vit_relpos", 160, "patch_embed", "n hw c", {16: 10}),
    ("deit_tiny_distilled_patch16_224", 224, "patch_embed", "n 2+hw c", {16: 13}),
    ("pit_ti_224", 224, "patch_embed", "n 1+hw c", {8: 3, 16: 6, 32: 4}),
    ("mixer_s32_224", 224, "stem", "n hw c", {32: 9}),
    ("swin_tiny_patch4_window7_224", 224, "patch_embed", "n h w c", {4: 3, 8: 2, 16: 6, 32: 2}),
    ("hiera_tiny_224", 224, "patch_embed", "n hw c", {4: 2, 8: 2, 16: 7, 32: 2}),
    ("tv:resnet18", 64, "relu", "n c h w", {2: 1, 4: 2, 8: 2, 16: 2, 32: 2}),
    ("tv:swin_v2_t", 64, "features.0", "n h w c", {4: 3, 8: 2, 16: 6, 32: 2}),
    ("tv:convnext_tiny", 64, "features.0", "n c h w", {4: 4, 8: 3, 16: 9, 32: 3}),
    ("tv:efficientnet_b0", 64, "features.0", "n c h w", {2: 2, 4: 2, 8: 2, 16: 6, 32: 6}),
    ("tv:squeezenet1_1", 64, "features.1", "n c h w", {2: 1, 4: 2, 8: 2, 16: 5}),
]


def network(name):
    import timm  # here, as it takes seconds, and most of the tests need neither
    import torchvision

    library, _, architecture = name.rpartition(":")
    if library:
        return torchvision.models.get_model(architecture, weights=None).eval()
    return timm.create_model(architecture, pretrained=False).eval()


@pytest.fixture(autouse=True)
def one_thread():
    """The networks are small: a second thread costs more than it gains, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(before)


def maps(model, layers, images):
    found = {}
    with tap(layers, found.__setitem__):
        found["output"] = model(images)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side", "stem", "kind", "strides"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_layers_of_the_families(name, side, stem, kind, strides):
    model = network(name)
    images = torch.rand(2, 3, side, side)
    row, column = (round(side * share) // 32 * 32 for share in (0.5, 0.7))
    images[1] = images[0]
    images[1, :, row : row + 4, column : column + 4] += 5
    layers = find_layers(model, images[0])
    blocks = [layer for layer in layers if layer.part not in ("pool", "final")]
    assert (blocks[0].name, blocks[-1].kind) == (stem, kind)
    assert [layer.stride for layer in blocks] == [stride for stride, count in strides.items() for _ in range(count)]
    thirds = [[layer.part for layer in blocks].count(part) for part in ("early", "middle", "late")]
    assert thirds == [(len(blocks) + 2 - i) // 3 for i in range(3)]
    assert layers[-1].name == "final" and ("pool" in [layer.name for layer in layers]) == ("squeeze" not in name)

    found = maps(model, layers, images)
    for layer in layers:
        spatial = layer in blocks and layer.size != (1, 1)
        assert found[layer.name].shape == (2, layer.channels, *(layer.size if spatial else ()))
    assert torch.equal(found["final"], found["output"])

    # What changes in one place of the image changes the stem's map there, rows and columns told apart.
    before, after = found[stem]
    change, stride = (after - before).abs().sum(0), blocks[0].stride
    reach = 20 if stride < 16 else 0  # pixels; patches do not overlap
    rows, columns = (change > 0).nonzero().unbind(1)
    for places, start in ((rows, row), (columns, column)):
        assert (start - reach) / stride - 1 < places.min() <= places.max() < (start + 4 + reach) / stride + 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_mambaout"])
def test_strides_are_what_maps_grow_by(name):
    """Twice 64 rows more, and no more columns: rows grow by 128 / stride, columns not at all."""
    model = network(name)
    small, large = (find_layers(model, torch.zeros(3, height, 64)) for height in (64, 192))
    for before, after in zip(small, large, strict=True):
        assert before.stride == after.stride and before.size[1] == after.size[1]
        if before.stride:
            assert after.size[0] - before.size[0] == 128 / before.stride


@pytest.mark.slow
def test_windowed_order_of_tokens_is_undone():
    """Hiera's first block attends inside windows of 32 pixels and keeps its tokens in the windows' order."""
    model = network("hiera_tiny_224").double()
    image = torch.rand(3, 224, 224).double()
    layer = find_layers(model, image, ["blocks.0"])[0]
    assert layer.kind == "n hwhwhwhw c"
    changed = image.clone()
    changed[:, 40:52, 136:148] += 5  # inside the window of rows 32 to 63 and columns 128 to 159
    pair = maps(model, [layer], torch.stack([image, changed]))["blocks.0"]
    change = (pair[1] - pair[0]).abs().amax(0)
    inside = torch.zeros(56, 56, dtype=torch.bool)
    inside[8:16, 32:40] = True
    assert change[~inside].max() < 1e-9 < 1e-5 < change[inside].min()


class Coincidence(nn.Module):
    """Maps of 16x16 with 16 channels: only where an axis comes from tells which one it is."""

    def __init__(self, layout: str):
        super().__init__()
        self.layout = layout
        self.stem = nn.Conv2d(3, 16, 2, 2)
        self.blocks = nn.ModuleList(Residual(layout) for _ in range(3))
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        x = x.permute(0, 2, 3, 1) if self.layout == "n h w c" else x
        x = x.transpose(2, 3) if self.layout == "n c w h" else x
        x = x.flatten(2) if self.layout == "n c hw" else x
        for block in self.blocks:
            x = block(x)
        channels = 3 if self.layout == "n h w c" else 1
        return self.fc(x.mean([dim for dim in range(1, x.ndim) if dim != channels]))


class Residual(nn.Module):
    def __init__(self, layout: str):
        super().__init__()
        self.linear = nn.Linear(16, 16) if layout == "n h w c" else nn.Conv1d(16, 16, 1)
        if layout in ("n c h w", "n c w h"):
            self.linear = nn.Conv2d(16, 16, 1)

    def forward(self, x):
        return {"out": x + F.relu(self.linear(x))}["out"]


@pytest.mark.parametrize("layout", ["n c h w", "n h w c", "n c w h", "n c hw"])
def test_equal_sizes_do_not_fool_it(layout):
    model = Coincidence(layout).double().eval()
    images = torch.rand(4, 3, 32, 32).double()
    layers = find_layers(model, images[0])
    assert [layer.kind for layer in layers[1:4]] == [layout] * 3
    assert all((layer.channels, layer.size, layer.stride) == (16, (16, 16), 2) for layer in layers[:4])
    reference = Coincidence("n c h w").double().eval()
    reference.load_state_dict(
        {k: v.view_as(dict(reference.state_dict())[k]) for k, v in model.state_dict().items()}
    )
    expected, found = maps(reference, find_layers(reference, images[0]), images), maps(model, layers, images)
    for name, one in expected.items():
        torch.testing.assert_close(found[name], one)


@pytest.mark.slow
@pytest.mark.parametrize(("grid", "registers"), [((3, 5), 0), ((4, 4), 0), ((5, 3), 0), ((4, 3), 3)])
def test_tokens_as_many_as_channels(grid, registers):
    """A vision transformer whose patches, class token and registers are as many as its 16 channels, or nearly."""
    import timm

    height, width = grid
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=(8 * height, 8 * width),
        patch_size=8,
        embed_dim=16,
        depth=3,
        num_heads=2,
        num_classes=7,
        reg_tokens=registers,
    ).eval()
    image = torch.rand(3, 8 * height, 8 * width)
    layers = find_layers(model, image)
    assert [layer.kind for layer in layers] == ["n hw c", *[f"n {1 + registers}+hw c"] * 3, "n c", "n c"]
    assert all(layer.size == grid and layer.stride == 8 for layer in layers[:4])
    tokens = model.forward_intermediates(image[None], indices=3, intermediates_only=True, norm=False)
    for expected, (name, found) in zip(tokens, list(maps(model, layers, image[None]).items())[1:4], strict=True):
        torch.testing.assert_close(found, expected, msg=name)


class Mixed(nn.Module):
    """Blocks that hand on tuples and dicts, a branch beside them, and one ReLU for all."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU()
        self.pair, self.named = Branches(tuple), Branches(dict)
        self.aside = nn.Linear(8, 4)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.relu(self.second(self.relu(self.first(x))))
        _, x = self.pair(x)
        x = self.named(x)["map"]
        pooled = x.mean((2, 3))
        return {"logits": self.fc(pooled) + self.aside(x.amax((2, 3))), "pooled": pooled}


class Branches(nn.Module):
    def __init__(self, holder):
        super().__init__()
        self.a, self.b, self.holder = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1), holder

    def forward(self, x):
        out = self.a(x) + self.b(x)
        return (x.mean(), out) if self.holder is tuple else {"size": x.mean(), "map": out}


def test_tuples_dicts_shared_modules_and_branches():
    model = Mixed().eval()
    images = torch.rand(2, 3, 16, 16)
    layers = find_layers(model, images[0])
    assert [layer.name for layer in layers] == ["relu", "relu#2", "pair", "named", "pool", "final"]
    assert "aside" in layers.left_out
    found = maps(model, layers, images)
    torch.testing.assert_close(found["relu#2"], model.second(found["relu"]).relu())
    torch.testing.assert_close(found["pair"], model.pair(found["relu#2"])[1])
    assert torch.equal(found["final"], found["output"]["logits"])


@pytest.mark.parametrize("model", [CNN7(3, 10), ResNet(3, 10, depth=8)], ids=["cnn7", "resnet"])
def test_our_networks_are_found_as_they_name_themselves(model, monkeypatch):
    image = torch.rand(3, 32, 32)
    named = find_layers(model, image)
    monkeypatch.delattr(InOrder, "feature_layers")
    found = find_layers(model, image)
    same = ("part", "channels", "size", "stride")
    assert [[getattr(layer, key) for key in same] for layer in found] == [
        [getattr(layer, key) for key in same] for layer in named
    ]
    model.eval()
    ours, theirs = maps(model, named, image[None]), maps(model, found, image[None])
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True))


@pytest.mark.slow
def test_patterns_name_layers():
    model, image = network("test_resnet"), torch.rand(3, 96, 96)
    assert [layer.name for layer in find_layers(model, image, ["layer?.*", "fc"])] == [
        *(f"layer{i}.0" for i in (1, 2, 3, 4)),
        "fc",
    ]
    inner = find_layers(model, image, ["layer1.**.conv?"])
    assert inner and all(layer.name.startswith("layer1.0.conv") for layer in inner)
    with pytest.raises(UserError, match=r"matches layers1.0; near ones are layer1.0"):
        find_layers(model, image, ["layers1.0"])


@pytest.mark.slow
def test_two_streams_are_left_out_with_the_reason():
    layers = find_layers(network("crossvit_tiny_240"), torch.zeros(3, 240, 240))
    assert [layer.part for layer in layers] == ["pool", "final"]
    assert layers.left_out["blocks.0"] == "not all data pass through its output"


def test_the_trunk_is_what_no_edge_jumps_over():
    #       0 -> 1 -> 2 -> 4 -> 5, and 1 -> 3 -> 4: a branch around 2; 6 comes from 0 and leads nowhere
    sources = [set(), {0}, {1}, {1}, {2, 3}, {4}, {0}]
    assert trunk(sources, 5) == {0, 1, 4, 5}


class Functional(nn.Module):
    """As many networks are written: the non-linearities are functions, no modules."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.Conv2d(6, 6, 3)
        self.norm, self.fc = nn.BatchNorm2d(6), nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.norm(self.conv1(x)), inplace=True)
        x = F.silu(self.conv2(x))
        return self.fc(F.relu(self.conv3(x)).mean((2, 3)))


def test_maps_are_taken_behind_functions_that_no_module_holds():
    model = Functional().eval()
    images = torch.rand(2, 3, 16, 16)
    layers = find_layers(model, images[0])
    assert [layer.name for layer in layers] == ["norm", "conv2", "conv3", "pool", "final"]
    found = maps(model, layers, images)
    torch.testing.assert_close(found["norm"], model.norm(model.conv1(images)).relu())
    torch.testing.assert_close(found["conv2"], F.silu(model.conv2(found["norm"])))
    torch.testing.assert_close(found["conv3"], model.conv3(found["conv2"]).relu())


def test_the_layers_are_printed_as_a_table_with_what_is_left_out():
    layers = find_layers(Functional().eval(), torch.rand(3, 16, 16))
    assert str(layers).splitlines()[0].split() == ["layer", "kind", "channels", *"hxw", "stride", "part"]
    assert re.search(r"^norm +n c h w +6 +14 x 14 +1 +early$", str(layers), re.M)
    assert re.search(r"^pool +n c +6 +1 x 1 +- +pool$", str(layers), re.M)
    layers.left_out["pooling"] = "it has no weights"
    assert repr(layers).endswith("left out: pooling: it has no weights")


def test_an_image_or_a_batch_is_looked_at_in_evaluation_mode_and_all_is_put_back():
    model, image = Functional().train(), torch.rand(3, 16, 16)
    model.norm.eval()  # frozen, as in fine-tuning
    statistics = model.norm.running_mean.clone()
    assert str(find_layers(model, image)) == str(find_layers(model, torch.rand(5, 3, 16, 16)))
    assert model.training and model.conv1.training and not model.norm.training
    assert torch.equal(model.norm.running_mean, statistics)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for wrong in (torch.rand(16, 16), torch.rand(0, 3, 16, 16)):
        with pytest.raises(UserError, match=r"example: needs an image \(c, h, w\) or a batch"):
            find_layers(model, wrong)
