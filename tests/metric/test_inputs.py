"""Whatever is given as images: the same table as of a plain tensor, or one line that says what to do."""

import copy
import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import equivariance as eq
from equivariance.errors import UserError

torch.manual_seed(0)
NETWORK = nn.Sequential(
    nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
).eval()
X = torch.randn(8, 3, 12, 12)
Y = NETWORK(X).argmax(1)  # so that the accuracy is 1
TURNS = eq.rotations()


class Items(Dataset):
    """Without an end of its own, as many data sets are."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index % len(X)], int(Y[index % len(X)])


class Endless(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


RIGHT = {
    "tensor": X,
    "array": X.numpy(),
    "float64": X.double(),
    "channels last in memory": X.to(memory_format=torch.channels_last),
    "negative strides": X.flip(3).numpy()[..., ::-1],
    "every second": torch.stack([X, X], 1).flatten(0, 1)[::2],
    "batches": [X[:3], X[3:]],
    "generator": (X[start : start + 3] for start in (0, 3, 6)),
    "an empty batch": [X[:3], X[:0], X[3:]],
    "arrays": [X.numpy()[:5], X.numpy()[5:]],
    "with labels": [(X[:4], Y[:4]), (X[4:], Y[4:])],
    "labels in lists": [[X, Y.tolist()]],
    "labels as columns": [(X, Y[:, None])],
    "labels as floats": [(X.numpy(), Y.double().numpy())],
    "labels of some batches": [(X[:4], Y[:4]), X[4:]],
    "with paths": [(X, Y, ["a"] * 8)],
    "pixel_values": [{"pixel_values": X}],
    "a dict": {"image": X, "label": Y},
    "single images": list(X),
    "single images with labels": zip(X, Y.tolist(), strict=True),
    "data set": Items(),
    "TensorDataset": TensorDataset(X, Y),
    "IterableDataset": Endless(),
    "DataLoader": DataLoader(Items(), batch_size=3),
}
WRONG = {
    "uint8": (
        (X * 40).byte(),
        r"^Sequential cannot take uint8 images of shape \(3, 12, 12\): give torch.float32, normalised as",
    ),
    "int64": (X.long(), "give torch.float32"),
    "complex": (X.to(torch.complex64), "^images: complex numbers"),
    "channels last": (X.permute(0, 2, 3, 1), r"their channels are last, give images.permute\(0, 3, 1, 2\)$"),
    "one channel": (X[:, :1], r"float32 images of shape \(1, 12, 12\): it takes images of 3 channels$"),
    "too small": (
        X[..., :2, :2],
        r"images of shape \(3, 2, 2\): .*Kernel size.*; are they what the network expects\?$",
    ),
    "one image": (X[0], r"images of shape \(3, 12, 12\): give \(n, c, h, w\); one image is images\[None\]"),
    "video": (X[None], "the frames of a video are images of their own"),
    "a number": (3.5, "^images: this is float; give tensors"),
    "text": ("images.pt", "^images: this is text; give tensors"),
    "nothing": (None, "^images: this is NoneType; give tensors"),
    "a PIL image": (Image.new("RGB", (12, 12)), "^images: this is PIL.Image.Image; give tensors"),
    "PIL images": ([Image.new("RGB", (12, 12))] * 3, "^images: this is PIL.Image.Image; give tensors"),
    "objects": (np.array([None] * 8), "^images: this is numpy.ndarray; give tensors"),
    "a dict of other keys": ([{"a": X, "b": Y}], "^images: a dict of a, b; give one with pixel_values"),
    "images and labels": ((X, Y), r"labels stand beside their images, as in \[\(images, labels\)\]"),
    "no images": (X[:0], "there are no images"),
    "no batches": ([], "there are no images"),
    "two sizes": ([X, torch.randn(2, 3, 14, 14)], "after others of"),
    "single images of two sizes": ([X[0], torch.randn(3, 14, 14)], "after others of"),
    "NaN": ([X, X.where(X < 1, torch.nan)], "holds NaN"),
    "one-hot labels": ([(X, torch.eye(8)[:, :3])], r"^labels of shape \(8, 3\) for 8 images.*argmax"),
    "too few labels": ([(X, Y[:3])], r"^labels of shape \(3,\) for 8 images"),
    "text labels": ([(X, ["cat"] * 8)], "^labels: this is text; give numbers of classes"),
    "labels of halves": ([(X, Y + 0.5)], "^labels: give whole numbers"),
    "negative labels": ([(X, Y - 5)], "^labels: give whole numbers"),
    "labels beyond the logits": ([(X, Y + 3)], "^labels: "),
}


@pytest.fixture(scope="module")
def expected():
    return eq.measure(NETWORK, X, TURNS)


@pytest.mark.parametrize("kind", RIGHT)
def test_the_same_images_in_any_form_give_the_same_table(kind, expected):
    table = eq.measure(NETWORK, RIGHT[kind], TURNS, batch_size=np.int64(3))
    torch.testing.assert_close(
        *(torch.tensor(t.value.to_numpy(float)) for t in (table, expected)), atol=1e-5, rtol=0
    )
    assert (table.images == 8).all()
    labelled = any(word in kind for word in ("label", "dict", "paths", "set", "Data"))
    assert ("accuracy" in table and (table.accuracy == 1).all()) if labelled else "accuracy" not in table


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_batch_of_images_is_refused_in_one_line(kind):
    given, line = WRONG[kind]
    with pytest.raises(UserError, match=line) as error:
        eq.measure(NETWORK, given, TURNS)
    if kind != "labels beyond the logits":  # which has no use for them
        with pytest.raises(UserError, match="[Nn]aN" if kind == "NaN" else line):
            eq.similarity(NETWORK, NETWORK, given)
    assert "\n" not in str(error.value) and isinstance(error.value, ValueError)


def test_images_that_a_network_cannot_take_are_explained_wherever_they_are_given():
    metric = eq.Equivariance(NETWORK, TURNS)
    metric.update(X)
    ways = (partial(eq.find_layers, NETWORK), eq.Equivariance(NETWORK, TURNS).maps, metric.maps, metric.update)
    for way in ways:
        with pytest.raises(UserError, match=r"^Sequential cannot take uint8 images .* give torch.float32") as error:
            way((X * 40).byte())
        assert error.value.__suppress_context__  # PyTorch's own traceback
    double = copy.deepcopy(NETWORK).double()
    for images in ((X * 40).byte(), X):
        with pytest.raises(UserError, match=r"images of shape \(3, 12, 12\): give torch.float64"):
            eq.find_layers(double, images)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"model": lambda x: x}, "^model: needs a torch.nn.Module, this is a function"),
        ({"batch_size": 0}, "^batch_size=0: needs a whole number"),
        ({"batch_size": -1}, "^batch_size=-1: needs a whole number"),
        ({"over": 3}, "^over=3: choose image"),
        ({"scores": 3}, "^scores=3: choose invariance"),
        ({"batch_size": 2.5}, "^batch_size=2.5: needs a whole number"),
        ({"transforms": 90}, r"^transforms: 90 is no transformation; give equivariance.rotations\(\)"),
        ({"transforms": X}, "^transforms: a Tensor is no transformation; give [^\n]*$"),
        ({"transforms": []}, "^transforms is empty"),
        ({"transforms": [*TURNS, TURNS[0]]}, "^transforms: rotation by 90 is there twice"),
    ],
)
def test_other_arguments_are_refused_in_one_line(arguments, line):
    with pytest.raises(UserError, match=line):
        eq.measure(**{"model": NETWORK, "images": X, "transforms": TURNS} | arguments)


@pytest.mark.parametrize("transforms", [TURNS[1], [TURNS[1]], (g for g in TURNS[1:2]), eq.rotations(180)])
def test_one_transformation_or_several(transforms, expected):
    table = eq.measure(NETWORK, X, transforms)
    assert table.value.tolist() == pytest.approx(expected[expected.element == 180].value.tolist(), abs=1e-6)


def test_a_call_updates_and_gives_the_scores_of_its_images_alone():
    metric = eq.Equivariance(NETWORK, TURNS)
    assert repr(metric) == "Equivariance(Sequential, 3 transformations, layers not known yet, 0 images)"
    first, second = metric(X[:5], Y[:5]), metric(X[5:], Y[5:])
    for found, part in ((first, X[:5]), (second, X[5:]), (metric.compute(), X)):
        np.testing.assert_allclose(found.value, eq.measure(NETWORK, part, TURNS).value, atol=1e-6)
    assert metric.accuracy == 1 and "3 transformations, 3 layers, 8 images" in repr(metric)


@pytest.mark.parametrize(
    "moved", [lambda metric: metric.to("cpu"), lambda metric: pickle.loads(pickle.dumps(metric))]
)
def test_moved_or_pickled_a_metric_goes_on(moved, expected):
    metric = moved(eq.Equivariance(NETWORK, TURNS))
    metric.update(X[:3])
    metric = moved(metric)
    metric.update(X[3:])
    np.testing.assert_allclose(metric.compute().value, expected.value, atol=1e-6)
    np.testing.assert_allclose(metric.compute().chance, expected.chance, atol=1e-6)
    axes = metric.plot()
    assert [text.get_text() for text in axes.get_xticklabels()] == expected.layer.unique().tolist()


def test_few_images_are_warned_of_and_the_table_shows_what_there_is():
    with pytest.warns(UserWarning, match="^8 images are too few") as found:
        table = eq.measure(NETWORK, X, TURNS)
    assert len(found) == 1 and not table.isna().all().any() and {"low", "agreement"} <= {*table}
    with pd.option_context("display.width", 80, "display.max_columns", 0):  # as on a terminal
        assert {"layer", "element", "score", "value", "chance"} <= {*str(table).splitlines()[0].split()}


@pytest.mark.parametrize(
    ("images", "hinted"), [(X, False), (X.abs(), False), (X.abs() * 255, True), (X * 255, False)]
)
def test_pixels_as_they_are_stored_are_warned_of(images, hinted):
    """In floats; a network may want them. Below 0 no pixel is stored."""
    with pytest.warns(UserWarning) as found:
        eq.measure(NETWORK, images, TURNS)
    hints = [str(each.message) for each in found if "normalised" in str(each.message)]
    assert len(hints) == hinted and all("numbers up to" in hint for hint in hints)


def test_where_nothing_helps_the_networks_own_error_is_the_cause():
    class Own(nn.Module):
        def forward(self, x):
            raise ValueError("my own reason")

    with pytest.raises(UserError, match="my own reason") as error:
        eq.find_layers(Own(), torch.rand(3, 8, 8))
    assert isinstance(error.value.__cause__, ValueError)
