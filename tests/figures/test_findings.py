"""The numbers behind the pages of borders and public_similarity."""

import numpy as np
import pandas as pd
import pytest

from experiments.borders.figure import differences, scores
from experiments.public_similarity.figure import correlations


def shifted(model, value):
    """Rows of a network whose layers have strides 1 and 2, under shifts by 1 and 2 pixels."""
    return [
        {"model": model, "transform": "full translation", "score": "equivariance", "part": part, "stride": stride}
        | {"element": shift, "value": value, "low": value - 0.03, "high": value + 0.03}
        for part, stride in (("early", 1), ("middle", 2))
        for shift in (1, 2)
    ]


def test_differences_of_a_pair_by_border_and_alignment():
    """0.1 everywhere, half intervals of 0.03 and 0.04 together 0.05; stride 2 divides one of the two shifts."""
    table = pd.DataFrame([*shifted("zskt_wrn_16_2", 0.6), *shifted("zskt_wrn_16_1", 0.5)])
    table.loc[table.model == "zskt_wrn_16_1", ["low", "high"]] = 0.46, 0.54
    found = differences(scores(table))
    assert set(found.pair) == {"WRN-16, width 2 minus 1"} and set(found.border) == {"full"}
    assert sorted(zip(found.part, found.aligned, strict=True)) == [
        ("early", True),
        ("middle", False),
        ("middle", True),
    ]
    assert found.value.tolist() == pytest.approx([0.1] * 3) and found.half.tolist() == pytest.approx([0.05] * 3)


def test_the_partial_correlation_is_that_of_what_depth_leaves():
    """Of the residuals of linear fits on depth, by NumPy's least squares."""
    generator = np.random.default_rng(0)
    depth = np.arange(1, 22)
    value, mean, rms = (generator.normal(size=21) - slope * depth / 10 for slope in (1, 2, 0))
    layers = [f"block{index}" for index in depth]
    table = pd.DataFrame({"layer": layers, "index": depth, "value": value, "model": "net"})
    table = table.assign(transform="rotation", score="invariance", over="image", similarity="cosine")
    found = correlations(table, pd.DataFrame({"layer": layers, "model": "net", "mean": mean, "rms": rms}))
    left = {
        name: x - np.polyval(np.polyfit(depth, x, 1), depth)
        for name, x in (("v", value), ("mean", mean), ("rms", rms))
    }
    for row in found.itertuples():
        assert row.partial == pytest.approx(np.corrcoef(left["v"], left[row.activation])[0, 1])
        assert row.r == pytest.approx(np.corrcoef(value, {"mean": mean, "rms": rms}[row.activation])[0, 1])
