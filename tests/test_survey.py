"""The survey's two checks on small networks of all layouts, and that they would see a mistake."""

from dataclasses import replace

import pandas as pd
import pytest
import timm
import torch

from scripts import survey


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return survey.photographs(tmp_path_factory.mktemp("photographs"))


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("test_resnet", "n c h w"),
        ("test_efficientnet", "n c h w"),
        ("test_convnext", "n c h w"),
        ("test_mambaout", "n h w c"),
        ("test_vit", "n h w c, n 1+hw c"),
        ("test_vit_relpos", "n hw c"),
        ("cait_xxs24_224", "n hw c"),
        ("torchvision:squeezenet1_1", "n c h w"),
    ],
)
def test_no_layer_of_a_circular_copy_notices_a_shift_by_its_stride(name, kinds, root):
    row = survey.look(name, root)
    assert row["refused"] == "" and row["circular"] > survey.EXACT, row
    assert row["kinds"] == kinds and row["doubts"] == ("no pool" if "squeeze" in name else "")


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

    right = survey.survey
    monkeypatch.setattr(survey, "survey", lambda *given: ([wrong(each) for each in right(*given)[0]], {}))
    torch.manual_seed(0)
    model, pixels = timm.create_model("test_vit").eval(), torch.rand(2, 3, 160, 160)
    found = survey.circular(model, right(model, pixels[0])[0], pixels)
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
    page = survey.page(pd.read_csv(tmp_path / "survey.csv"))
    assert "1 measured, 2 refused" in page
    assert "- resnet19: model.name=resnet19: timm has no such classification network" in page
    assert page.count("| test_resnet | timm resnet | 128x128 |") == 1
