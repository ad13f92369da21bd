"""The survey's two checks on small networks of all layouts, and that they would see a mistake."""

import operator
import re
from dataclasses import replace

import pandas as pd
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from tests import samples
from tests.conftest import REPOSITORY
from tests.layers import circular, survey

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return samples.photographs(tmp_path_factory.mktemp("photographs"))


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("test_resnet", "n c h w"),
        ("test_efficientnet", "n c h w"),
        ("test_convnext", "n c h w"),
        ("test_mambaout", "n h w c"),
        ("test_vit", "n h w c, n 1+hw c"),
        ("test_vit_relpos", "n hw c"),
        ("torchvision:squeezenet1_1", "n c h w"),
    ],
)
def test_no_layer_of_a_circular_copy_notices_a_shift_by_its_stride(name, kinds, root):
    row = survey.look(name, root)
    assert row["refused"] == "" and row["circular"] > circular.EXACT, row
    assert row["kinds"] == kinds
    assert row["doubts"].partition(" (")[0] == ("no pool" if "squeeze" in name else "")


@pytest.mark.parametrize("mistake", ["rows for columns", "order of tokens", "stride"])
def test_a_mistake_in_a_layer_is_seen(mistake, monkeypatch):
    def wrong(layer):
        read = layer.read
        if layer.index != 1:
            return layer
        if mistake == "stride":
            return replace(layer, stride=2 * layer.stride)
        if mistake == "rows for columns":
            return replace(layer, read=lambda *call: read(*call).mT)
        return replace(layer, read=lambda *call: read(*call).flatten(2).roll(1, 2).view_as(read(*call)))

    monkeypatch.setattr(circular, "COARSER", (2,))  # the larger the shift, the larger the image
    right = circular.find_layers
    monkeypatch.setattr(circular, "find_layers", lambda *given: [wrong(each) for each in right(*given)])
    torch.manual_seed(0)
    model, pixels = timm.create_model("test_vit", img_size=96).eval(), torch.rand(2, 3, 96, 96)
    found = circular.circular(model, right(model, pixels), pixels)
    assert found["circular"] < 0.9


def test_what_cannot_be_measured_is_a_line_with_the_reason_and_a_survey_goes_on(root, tmp_path, capsys):
    survey.main(["resnet19", "test_resnet"], root, tmp_path)
    survey.main(["resnet19", "test_resnet", "torchvision:resnet19"], root, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines if " | " in line] == [
        "resnet19",
        "test_resnet",
        "torchvision:resnet19",
    ]
    table = pd.read_csv(tmp_path / "survey.csv").set_index("model")
    assert table.refused["resnet19"].startswith("model.name=resnet19: timm has no such classification network")
    assert table["size"]["test_resnet"] == "128x128" and table.layers.notna().sum() == 1


def test_every_check_that_says_no_has_a_reason_and_no_other_network_has_one():
    folder = REPOSITORY / "experiments/survey"
    table = pd.read_csv(folder / "survey.csv")
    open_ends = table[table.layers.notna() & (table.doubts.notna() | ~(table.circular > circular.EXACT))]
    reasons = (folder / "README.md").read_text().partition("## Where a check says no\n")[2]
    assert sorted(re.findall(r"^- (\S+): ", reasons, re.M)) == sorted(open_ends.model)


@pytest.mark.parametrize("compare", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
def test_tensors_compare_under_circular_borders_as_ever(compare):
    values = torch.arange(4.0)
    expected = compare(values, 2.0)
    with circular.Circular("circular"):
        found = compare(values, 2.0)
    assert torch.is_tensor(found) and torch.equal(found, expected)


LAYERS = {
    "convolution": (nn.Conv2d(3, 2, 5, stride=2, padding=2), 0.5),
    "transposed": (nn.ConvTranspose2d(3, 2, 8, stride=4, padding=2), 4),
    "transposed, with a row more": (nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1), 2),
    "transposed, with gaps": (nn.ConvTranspose2d(3, 2, 1, stride=3, output_padding=2), 3),
    "folded": (lambda x: F.fold(F.unfold(x, 3, padding=1, stride=2), x.shape[2:], 3, padding=1, stride=2), 1),
    "enlarged": (nn.Upsample(scale_factor=2, mode="bicubic"), 2),
    "reduced": (lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True), 0.5),
    "average": (nn.AvgPool2d(3, stride=2, padding=1), 0.5),
    "padded": (lambda x: F.conv2d(F.pad(x, (2, 2, 2, 2)), x.new_ones(1, 3, 5, 5)), 1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_circular_borders_change_the_border_only_and_commute_with_circular_shifts(name):
    layer, scale = LAYERS[name]
    layer = layer.double() if isinstance(layer, nn.Module) else layer
    images = torch.rand(2, 3, 24, 32).double()
    with torch.no_grad(), circular.Circular("circular"):
        found, shifted = layer(images), layer(images.roll((4, -6), (2, 3)))
    plain = layer(images)
    assert found.shape == plain.shape == (2, plain.shape[1], 24 * scale, 32 * scale)
    torch.testing.assert_close(shifted, found.roll((int(4 * scale), int(-6 * scale)), (2, 3)))
    inside = (..., *(slice(n // 4, 3 * n // 4) for n in plain.shape[2:]))
    torch.testing.assert_close(found[inside], plain[inside])
    assert name.endswith("gaps") or not torch.allclose(found, plain)
