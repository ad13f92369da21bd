"""Every module that puts out a map is measured, is a part of what is, or stands in `left_out` with the reason."""

import dataclasses
import pickle

import pandas as pd
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

import equivariance as eq
from equivariance.layers.find import find_layers, tap
from equivariance.layers.record import record
from equivariance.names import PARTS

pytestmark = pytest.mark.slow

TURNS = eq.rotations([180])


class Plain(nn.Module):
    """Three convolutions, with `between` before the third, a linear map, and `head` behind it."""

    def __init__(self, change=lambda layer: layer, between=lambda x: x, head=lambda logits: logits, classes=4):
        super().__init__()
        self.convs = nn.ModuleList(change(nn.Conv2d(i, 8, 3, padding=1)) for i in (3, 8, 8))
        self.fc, self.between, self.head = change(nn.Linear(8, classes)), between, head

    def forward(self, x):
        for index, conv in enumerate(self.convs):
            x = F.relu(conv(self.between(x) if index == 2 else x))
        return self.head(self.fc(x.mean((2, 3))))


@dataclasses.dataclass
class Holder:
    map: torch.Tensor


class Wrapper:
    """As e2cnn's and escnn's GeometricTensor."""

    def __init__(self, tensor):
        self.tensor, self.type = tensor, "regular"


class Wrapped(nn.Module):
    """Its modules take and put out objects that hold a map."""

    def __init__(self, wrap, name):
        super().__init__()
        self.convs = nn.ModuleList(Inside(wrap, name, channels) for channels in (3, 8, 8))
        self.wrap, self.name, self.fc = wrap, name, nn.Linear(8, 4)

    def forward(self, x):
        x = self.wrap(x)
        for conv in self.convs:
            x = conv(x)
        return self.fc(getattr(x, self.name).mean((2, 3)))


class Inside(nn.Module):
    """A convolution whose weights are no matrix, but combine filters of a basis."""

    def __init__(self, wrap, name, channels):
        super().__init__()
        self.wrap, self.name, self.weights = wrap, name, nn.Parameter(torch.randn(5))
        self.register_buffer("basis", torch.randn(8, channels, 3, 3, 5))

    def forward(self, x):
        return self.wrap(F.conv2d(getattr(x, self.name), self.basis @ self.weights, padding=1).relu())


class Filled(nn.Module):
    """Normalises groups of channels by themselves into an empty tensor."""

    def __init__(self, empty):
        super().__init__()
        self.norms, self.empty = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(2)), empty

    def forward(self, x):
        out = self.empty(x)
        for index, norm in enumerate(self.norms):
            out[:, 4 * index : 4 * index + 4] = norm(x[:, 4 * index : 4 * index + 4])
        return out


ORDER = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
PLAIN = {  # all of them have three convolutions, and measure all of them
    "weight_norm": lambda: Plain(parametrizations.weight_norm),
    "spectral_norm": lambda: Plain(parametrizations.spectral_norm),
    "orthogonal": lambda: Plain(parametrizations.orthogonal),
    "old weight_norm": lambda: Plain(weight_norm),
    "old spectral_norm": lambda: Plain(spectral_norm),
    "dataclass": lambda: Wrapped(Holder, "map"),
    "wrapper": lambda: Wrapped(Wrapper, "tensor"),
    "flip": lambda: Plain(between=lambda x: x.flip(-1)),
    "flip of channels": lambda: Plain(between=lambda x: x.flip(1)),
    "repeat": lambda: Plain(between=lambda x: x.repeat(1, 2, 1, 1)[:, 4:12]),
    "index": lambda: Plain(between=lambda x: x[:, ORDER]),
    "index_select": lambda: Plain(between=lambda x: x.index_select(1, ORDER)),
    "gather": lambda: Plain(between=lambda x: x.gather(1, ORDER.view(1, 8, 1, 1).expand_as(x))),
    "sort": lambda: Plain(between=lambda x: x.sort(1).values),
    "channel shuffle": lambda: Plain(between=lambda x: torch.channel_shuffle(x, 2)),
    "channel shuffle by views": lambda: Plain(
        between=lambda x: x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
    ),
    "filled": lambda: Plain(between=Filled(torch.empty_like)),
    "filled anew": lambda: Plain(between=Filled(lambda x: torch.empty(x.shape))),
    "swish": lambda: Plain(between=lambda x: x * torch.sigmoid(x)),
    "compiled": lambda: torch.compile(Plain(), backend="eager"),
    "lazy": lambda: Plain(lambda layer: nn.LazyConv2d(8, 3, padding=1) if isinstance(layer, nn.Conv2d) else layer),
    "one logit": lambda: Plain(parametrizations.spectral_norm, classes=1),
    "logits sorted": lambda: Plain(head=lambda logits: logits.gather(1, logits.argsort(1))),
    "logits unknown": lambda: Plain(head=lambda logits: logits.unfold(1, 3, 1).flatten(1)),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_all_convolutions_are_measured(kind):
    torch.manual_seed(0)
    model, images = PLAIN[kind]().eval(), torch.randn(4, 3, 8, 8)
    table = eq.measure(model, images, TURNS)
    values = table[table.score == "equivariance"].set_index("layer")
    convolutions = [name for name in values.index if name.startswith("convs.")]
    assert len(convolutions) == 3 and values.value[convolutions].between(0, 1).all()
    assert values.agreement["final"] >= 0 and ("pool" in values.index or kind == "logits unknown")
    maps = eq.Equivariance(model, TURNS).maps(images)
    assert all(maps[name].shape == (4, 8, 8, 8) and maps[name].min() >= 0 for name in convolutions)
    model.train()
    model(images).sum().backward()  # nothing that the pass has left is in the way of a training


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return self.conv(x)


class Mapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.fc = Inner(), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(torch.vmap(self.inner)(x).mean((2, 3)))


class Named(nn.Module):
    """Its convolutions have the names of parts of a network."""

    def __init__(self, names=PARTS):
        super().__init__()
        for index, name in enumerate(names):
            setattr(self, name, nn.Conv2d(8 if index else 3, 8, 3, padding=1))
        self.names, self.fc = names, nn.Linear(8, 4)

    def forward(self, x):
        for name in self.names:
            x = getattr(self, name)(x).relu()
        return self.fc(x.mean((2, 3)))


class Detector(nn.Module):
    """Puts out boxes, as many as it finds in each image."""

    def __init__(self, count):
        super().__init__()
        self.conv, self.fc, self.count = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4), count

    def forward(self, x):
        features = self.fc(self.conv(x).mean((2, 3)))
        return [{"boxes": each.expand(self.count, 4) + 0, "scores": each[: self.count]} for each in features]


class Shared(nn.Module):
    """One ReLU behind all normalisations, once as a function."""

    def __init__(self, inplace=True):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(i, 8, 3, padding=1) for i in (3, 8, 8))
        self.norms = nn.ModuleList(nn.GroupNorm(2, 8) for _ in range(3))
        self.relu, self.pool, self.fc = nn.ReLU(inplace), nn.MaxPool2d(2), nn.Linear(8, 4)

    def forward(self, x):
        for index in range(3):
            x = self.norms[index](self.convs[index](x))
            x = F.relu(x, inplace=self.relu.inplace) if index == 1 else self.relu(x)
        return self.fc(self.pool(x).mean((2, 3)))


class Pyramid(nn.Module):
    """Three maps and no logits."""

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList(nn.Conv2d(i, 8, 3, 2, 1) for i in (3, 8, 8))
        self.lateral = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(3))

    def forward(self, x):
        found = []
        for stage in self.stages:
            x = stage(x).relu()
            found.append(x)
        out = {"p2": self.lateral[2](found[2])}
        for level in (1, 0):
            *_, before = out.values()
            out[f"p{level}"] = self.lateral[level](found[level]) + F.interpolate(before, scale_factor=2.0)
        return out


def resnet(**arguments):
    return torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], **arguments)


WALKED = {
    **PLAIN,
    "vmap": Mapped,
    "shared": Shared,
    "named": Named,
    "pyramid": Pyramid,
    "resnet": resnet,
    "classes": lambda: resnet(num_classes=30000),
    "googlenet": lambda: torchvision.models.googlenet(weights=None, init_weights=False),
    "shufflenet": torchvision.models.shufflenet_v2_x0_5,
    "mobilenet": torchvision.models.mobilenet_v3_small,
    "fpn": lambda: torchvision.models.detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet18", weights=None
    ),
    "segmentation": lambda: torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None
    ),
    "vit": lambda: torchvision.models.VisionTransformer(64, 16, 2, 2, 8, 16, num_classes=5),
}


@pytest.mark.parametrize("kind", WALKED)
def test_no_map_is_without_a_word(kind):
    torch.manual_seed(0)
    model = WALKED[kind]().eval()
    layers = find_layers(model, torch.randn(3, 64, 64))
    history = record(getattr(model, "_orig_mod", model), torch.randn(3, 64, 64))
    nodes = {layer.read.node for layer in layers}
    named = {layer.name for layer in layers} | set(layers.left_out)
    assert len(named) == len(layers) + len(layers.left_out), "two layers have one name"

    def walk(call, inside):
        """A map is a part of a named layer, leads to its output, or holds such ones; or its own name is there."""
        inside = inside or call.title in named or any(value.node in nodes for value in call.outputs)
        below = [walk(child, inside) for child in call.children]
        computed = [value for value in call.outputs if value.node >= call.start]
        is_map = any(len(value.shape) > 2 and max(value.shape[2:]) > 1 for value in computed) or call.mapped
        ends = [min((node for node in nodes if node >= value.node), default=None) for value in computed]
        leads = any(end is not None and end < following(call) for end in ends)
        assert inside or not is_map or any(below) or leads, f"{call.title} is neither measured nor left out"
        return inside or any(below)

    def following(call):
        """Where the next module begins that has a convolution or linear map."""
        starts = [c.start for c in history.root.walk() if c.start >= call.end and history.holds_product(c)]
        return min(starts, default=len(history.sources))

    for child in history.root.children:
        walk(child, False)
    assert pickle.loads(pickle.dumps(layers.left_out)) == layers.left_out


class Several(nn.Module):
    """Puts out its map, its features and the logits that are computed from them."""

    def __init__(self, output):
        super().__init__()
        self.conv, self.features, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 16), nn.Linear(16, 5)
        self.output = output

    def forward(self, x):
        y = self.conv(x).relu()
        features = self.features(y.mean((2, 3))).relu()
        return self.output(y, features, self.fc(features))


SEVERAL = {
    "logits": lambda y, features, logits: logits,
    "in a list": lambda y, features, logits: [logits],
    "before features": lambda y, features, logits: (logits, features),
    "behind features": lambda y, features, logits: (features, logits),
    "behind a map and features": lambda y, features, logits: [y, (features, logits)],
    "called logits": lambda y, features, logits: {"logits": logits, "probabilities": logits.softmax(1)},
    "called otherwise": lambda y, features, logits: {"features": features, "prediction": logits},
    "beside numbers": lambda y, features, logits: {"size": 3, "name": "a", "prediction": logits},
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_of_several_outputs_the_logits_are_the_last_step(kind):
    torch.manual_seed(0)
    model, images = Several(SEVERAL[kind]).eval(), torch.randn(9, 3, 8, 8)
    metric = eq.Equivariance(model, TURNS)
    model.output = SEVERAL["logits"]
    logits = model(images)
    model.output = SEVERAL[kind]
    metric.update(images, logits.argmax(1))
    assert metric.accuracy == 1 and torch.equal(metric.maps(images)["final"], logits)
    some = eq.measure(model, [(images, logits.argmax(1))], TURNS, [*find_layers(model, images)][:1])
    assert some.layer.unique().tolist() == ["conv"] and (some.accuracy == 1).all()


class Tower(nn.Module):
    """Residual blocks without normalisation, global pooling, and `head` behind it."""

    def __init__(self, head):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), head
        self.blocks = nn.Sequential(*(Residual() for _ in range(3)))

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x).relu()


class Averaged(nn.Module):
    """Two heads."""

    def __init__(self, channels):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(channels, 5) for _ in range(2))

    def forward(self, x):
        return (self.heads[0](x) + self.heads[1](x)) / 2


HEADLESS = {  # with a classifier, and how to take it away
    "residual": (lambda: Tower(nn.Linear(8, 5)), "head"),
    "two heads": (lambda: Tower(Averaged(8)), "head"),
    "one class": (lambda: Tower(nn.Linear(8, 1)), "head"),
    "resnet": (lambda: resnet(num_classes=5), "fc"),
    "densenet": (lambda: torchvision.models.DenseNet(8, (2, 2), 16, num_classes=5), "classifier"),
    "vit": (WALKED["vit"], "heads"),
    "swin": (
        lambda: torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=5),
        "head",
    ),
    "timm": (lambda: timm.create_model("mobilenetv3_small_050"), ""),
}


@pytest.mark.parametrize("kind", HEADLESS)
def test_features_are_no_logits(kind):
    """A network without its classifier has the rows that it has with it, but for `final`."""
    torch.manual_seed(0)
    make, head = HEADLESS[kind]
    model, images = make().eval(), torch.randn(4, 3, 64, 64)
    table = eq.measure(model, images, TURNS)
    expected = table[table.layer != "final"].set_index(["layer", "score"]).value
    assert table.agreement.notna().sum() == 2 and len(expected) > 4
    if head:
        setattr(model, head, nn.Identity())
    else:
        model.reset_classifier(0)
    features = eq.measure(model, images, TURNS)
    assert "agreement" not in features
    found = features.set_index(["layer", "score"]).value
    if kind == "timm":  # its last features lie behind what entered the classifier
        found, expected = found.drop("pool"), expected.drop("pool")
    pd.testing.assert_series_equal(found, expected)
    assert find_layers(model, images).left_out["final"].startswith("the network has no classifier")
    followed = nn.Sequential(model, nn.Linear(model(images).shape[1], 3)).eval()
    assert eq.measure(followed, images, TURNS, ["final"]).agreement.notna().all()


def test_maps_of_backbones_are_no_logits():
    """A map that is flattened, and one pooled to a single position as a backbone of children puts it out."""
    model, images = resnet().eval(), torch.randn(4, 3, 64, 64)
    children = nn.Sequential(*[*model.children()][:-1])
    assert children(images).shape == (4, 512, 1, 1)
    flat = nn.Sequential(*[*model.children()][:-2], nn.Flatten())
    for backbone, last in ((children, ("pool", "pool")), (flat, ("7.0", "late"))):
        layers = find_layers(backbone, images)
        assert (layers[-1].name, layers[-1].part) == last and layers.logits is None
        assert "agreement" not in eq.measure(backbone, images, TURNS)


def test_modules_may_have_the_names_of_parts():
    torch.manual_seed(0)
    model, images = Named().eval(), torch.randn(4, 3, 8, 8)
    layers = find_layers(model, images)
    assert [(layer.name, layer.part) for layer in layers[2:5]] == [
        ("late", "middle"),
        ("pool#1", "middle"),
        ("final#1", "late"),
    ]
    others = Named(tuple("abcde")).eval()
    others.load_state_dict(dict(zip(others.state_dict(), model.state_dict().values(), strict=True)))
    tables = [eq.measure(each, images, TURNS) for each in (model, others)]
    assert (tables[0].value == tables[1].value).all() and (tables[0].part == tables[1].part).all()


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_boxes_are_no_logits(count):
    """Two are as many as the images of the recorded pass."""
    model, images = Detector(count), torch.randn(4, 3, 8, 8)
    if count == 2:
        with pytest.raises(eq.UserError, match=r"^layer final has maps of 2 of 3 images: leave it out$"):
            eq.measure(model, images, TURNS)
    else:
        assert "none has one row per image" in find_layers(model, images).left_out["final"]
        assert eq.measure(model, images, TURNS).layer.unique().tolist() == ["conv"]


def test_what_is_left_out_says_why():
    image = torch.randn(3, 64, 64)
    assert "torch.vmap" in find_layers(Mapped(), image).left_out["inner"]
    pyramid = find_layers(Pyramid(), image)
    assert [layer.name for layer in pyramid] == [*(f"stages.{i}" for i in range(3)), "lateral.2"]
    assert {pyramid.left_out[f"lateral.{i}"] for i in (0, 1)} == {"not all data pass through its output"}
    assert "none is called logits" in pyramid.left_out["final"]
    fpn = find_layers(WALKED["fpn"](), image)
    assert {f"fpn.layer_blocks.{i}" for i in range(4)} <= {layer.name for layer in fpn}
    assert find_layers(resnet(), image).left_out["maxpool"].startswith("no block, convolution or linear map")


def test_more_classes_than_can_be_compared_keep_their_predictions(capsys):
    torch.manual_seed(0)
    model, images = Plain(head=lambda logits: logits.repeat(1, 7500)), torch.randn(6, 3, 8, 8)
    batches = [(images, model.eval()(images).argmax(1))]
    table = eq.measure(model, batches, TURNS, over=("image", "dataset"))
    final = table[table.layer == "final"]
    assert final.value.isna().all() and (final.channels == 30000).all() and (table.accuracy == 1).all()
    predicted = [model(x).argmax(1) for x in (images, images.rot90(2, (2, 3)))]
    assert final.agreement.tolist() == pytest.approx([(predicted[0] == predicted[1]).float().mean().item()] * 4)
    assert "left out: pool, final" in capsys.readouterr().err


@pytest.mark.parametrize("inplace", [False, True])
def test_layers_behind_a_shared_relu_are_all_measured_behind_it(inplace):
    torch.manual_seed(0)
    images = torch.randn(4, 3, 8, 8)
    maps = eq.Equivariance(Shared(inplace), TURNS).maps(images)
    assert len(maps) == 5 and all(each.min() == 0 for each in maps.values() if each.ndim == 4)


def test_a_mirrored_map_is_turned_back():
    torch.manual_seed(0)
    plain, images = Plain().eval(), torch.randn(4, 3, 8, 8)
    mirrored = Plain(between=lambda x: x.flip(-1)).eval()
    mirrored.load_state_dict(plain.state_dict())
    mirrored.convs[2].weight.data = plain.convs[2].weight.flip(-1)  # the same network, but mirrored from there on
    found = [eq.Equivariance(model, TURNS).maps(images)["convs.2"] for model in (plain, mirrored)]
    torch.testing.assert_close(*found)


def test_modules_are_given_instead_of_names():
    model = Plain().eval()
    assert [layer.name for layer in find_layers(model, torch.randn(3, 8, 8), [model.convs[1], "fc"])] == [
        "convs.1",
        "fc",
    ]
    with pytest.raises(eq.UserError, match="the module Conv2d is no part of the network"):
        find_layers(model, torch.randn(3, 8, 8), [nn.Conv2d(1, 1, 1)])
    model.unused = nn.Linear(2, 2)
    for wanted in ("unused", model.unused):
        with pytest.raises(eq.UserError, match="unused: it is not called in a forward pass"):
            find_layers(model, torch.randn(3, 8, 8), [wanted])
    with pytest.raises(eq.UserError, match="layers: 3 is no module"):
        find_layers(model, torch.randn(3, 8, 8), [3])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: F.relu, "needs a torch.nn.Module, this is a function"),
        (lambda: torch.jit.trace(Plain(), torch.randn(1, 3, 8, 8)), "has no modules to read: give the network"),
        (lambda: torch.jit.script(Inner()), "has no modules to read: give the network"),
        (lambda: torch.export.export(Plain(), (torch.randn(1, 3, 8, 8),)), "has no modules to read"),
        (lambda: torch.export.export(Plain(), (torch.randn(1, 3, 8, 8),)).module(), "has no modules to read"),
        (lambda: FromNumPy(), "FromNumPy cannot be measured: its output cannot be traced back to the image"),
    ],
)
def test_what_has_no_modules_is_refused_in_one_line(model, words):
    with pytest.raises(eq.UserError, match=words) as error:
        eq.measure(model(), torch.randn(4, 3, 8, 8), TURNS)
    assert "\n" not in str(error.value)


class FromNumPy(nn.Module):
    def forward(self, x):
        return torch.as_tensor(x.detach().numpy().mean((2, 3)))


def test_layers_are_pickled_with_their_network():
    torch.manual_seed(0)
    model, image = Shared().eval(), torch.randn(1, 3, 8, 8)
    copy, layers = pickle.loads(pickle.dumps((model, find_layers(model, image))))
    found, expected = {}, eq.Equivariance(model, TURNS).maps(image)
    with tap(layers, found.__setitem__), torch.no_grad():
        copy(image)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
