"""Where a score is lost: on made-up rows, and on a network with and without a blur before its stride."""

import pandas as pd
import pytest
import torch
from torch import nn

from equivariance import rows
from equivariance.errors import UserError
from equivariance.figures.score_drops import score_drops
from equivariance.metric.measure import measure
from equivariance.study.tables import sentence
from equivariance.transforms.sets import shifts


def made_up(values, strides, measure="invariance"):
    about = {"dataset": "d", "model": "m", "aug": "none", "width": None, "trained": True, "seed": 0, "epoch": 1}
    reading = {"transform": "rotation", "similarity": "pearson", "over": "image", "score": measure}
    return pd.DataFrame(
        about
        | reading
        | {"layer": f"block {i}", "index": i, "part": "early" if i < 2 else "late", "stride": stride, "element": g}
        | {"value": value + shift, "low": value - 0.01, "high": value + 0.01, "chance": 0.1}
        for i, (value, stride) in enumerate(zip(values, strides, strict=True))
        for g, shift in ((90, 0.005), (180, -0.005))
    ).reindex(columns=rows.COLUMNS)


def test_drops_are_those_of_the_means_over_elements():
    found = score_drops(made_up([0.9, 0.84, 0.6, 0.65], [1, 2, 4, 4]))
    assert found.layer.tolist() == ["block 2", "block 0", "block 1", "block 3"]
    assert found["drop"].tolist() == pytest.approx([0.24, 0.1, 0.06, -0.05])
    assert found.before.tolist() == ["block 1", "input", "block 0", "block 2"]
    assert sentence(found.iloc[0]) == "block 2: invariance falls by 0.24 (stride 2 to 4)"
    assert sentence(found.iloc[3]) == "block 3: invariance rises by 0.05"
    assert (found.low <= found["drop"]).all() and found.high[0] - found["drop"][0] == pytest.approx(0.01 * 2**0.5)


def test_layers_behind_pooling_and_several_measurements():
    one = made_up([0.9, 0.5], [1, 1])
    behind = one[one["index"] == 1].assign(part="pool", layer="pool", value=0.1, index=2)
    assert score_drops(pd.concat([one, behind])).layer.tolist() == ["block 1", "block 0"]
    with pytest.raises(UserError, match="several values of model"):
        score_drops(pd.concat([one, one.assign(model="other")]))
    with pytest.raises(UserError, match="no rows of a layer before pooling"):
        score_drops(behind)


class Blurred(nn.Module):
    """Two random convolutions, the second one strided; with a blur before the stride, or without."""

    def __init__(self, blur):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        first, second, self.third = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, stride=4), nn.Conv2d(8, 8, 1)
        for each in (first, second, self.third):
            each.weight.data = torch.randn(each.weight.shape, generator=generator)
        kernel = torch.exp(-torch.arange(-8.0, 9).square() / 32)
        blurring = nn.Conv2d(8, 8, 17, groups=8, bias=False)
        blurring.weight.data = (kernel[:, None] * kernel / kernel.sum() ** 2).expand(8, 1, 17, 17).clone()
        self.first = nn.Sequential(first, nn.ReLU())
        self.second = nn.Sequential(*([blurring] if blur else []), second)

    def forward(self, x):
        return self.third(self.second(self.first(x)))

    def feature_layers(self):
        return {"first": self.first, "second": self.second, "third": self.third}


def lost(blur):
    images = torch.rand(20, 1, 40, 40, generator=torch.Generator().manual_seed(1)).double()
    table = measure(Blurred(blur).double(), images, shifts([2]), over="dataset", blocks=2)
    return score_drops(table.assign(part="early"))


def test_a_stride_without_a_blur_is_the_culprit():
    """A shift by half a stride: nothing is lost where it moves whole positions, all at the strided convolution."""
    found = lost(blur=False)
    worst = found[found.score == "invariance"].iloc[0]
    assert worst.layer == "second" and worst["drop"] > 0.5
    assert sentence(worst).endswith("(stride 1 to 4)")
    first = found[(found.layer == "first") & (found.score == "invariance")].iloc[0]
    assert first["drop"] == pytest.approx(0, abs=1e-9)
    blurred = lost(blur=True)
    assert blurred["drop"].max() < worst["drop"] / 2
