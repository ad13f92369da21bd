"""The numbers behind pages of experiments, from made-up rows, also of those that have none yet."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from equivariance import rows
from equivariance.names import PARTS, SCORES
from experiments.borders.figure import differences, scores
from experiments.capacity_matched import figure as capacity_matched
from experiments.decisions import figure as decisions
from experiments.public_similarity.figure import correlations
from experiments.symmetry_decay import figure as symmetry_decay
from tests.study.verdicts.test_claims import table


def shifted(model, value, seed=0):
    """Rows of a network whose layers have strides 1 and 2, under shifts by 1 and 2 pixels."""
    network = {"model": model, "seed": seed, "transform": "full translation", "score": "equivariance"}
    return [
        network
        | {"part": part, "stride": stride}
        | {"element": shift, "value": value, "low": value - 0.03, "high": value + 0.03}
        for part, stride in (("early", 1), ("middle", 2))
        for shift in (1, 2)
    ]


def test_differences_of_a_pair_by_border_and_alignment():
    """0.1 everywhere, half intervals of 0.03 and 0.04 together 0.05; stride 2 divides one of the two shifts."""
    table = pd.DataFrame([*shifted("zskt_wrn_16_2", 0.6), *shifted("zskt_wrn_16_1", 0.5)])
    table.loc[table.model == "zskt_wrn_16_1", ["low", "high"]] = 0.46, 0.54
    pairs = {"WRN-16, width 2 minus 1": ["zskt_wrn_16_2", "zskt_wrn_16_1"], "of others": ["a", "b"]}
    found = differences(scores(table), pairs)
    assert set(found.pair) == {"WRN-16, width 2 minus 1"} and set(found.border) == {"full"}
    assert sorted(zip(found.part, found.shifts, strict=True)) == [
        ("early", True),
        ("middle", False),
        ("middle", True),
    ]
    assert found.value.tolist() == pytest.approx([0.1] * 3) and found.half.tolist() == pytest.approx([0.05] * 3)
    more = [*shifted("zskt_wrn_16_2", 0.8, seed=1), *shifted("zskt_wrn_16_1", 0.5, seed=1)]
    found = differences(scores(pd.concat([table, pd.DataFrame(more)])), pairs)
    assert found.value.tolist() == pytest.approx([0.2] * 3)
    # of 0.1 and 0.3, half of whose interval is t s / sqrt(2)
    assert found.half.tolist() == pytest.approx([12.7062 * 0.1] * 3, rel=1e-5) and set(found.seeds) == {2}


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


def test_widths_at_equal_accuracy(tmp_path):
    """Scores are linear in accuracy, 0.1 apart; the wide network is ahead by 0.05, which makes 0.01."""
    found = [
        {
            "width": width,
            "seed": seed,
            "epoch": epoch,
            "epochs": 2,
            "accuracy": accuracy,
            "part": part,
            "score": score,
        }
        | {"transform": "translation", "element": 1, "layer": part, "index": PARTS.index(part)}
        | {"value": 0.1 * width + 0.2 * accuracy if epoch else 0.1}
        for width, seed, part, score in product((1, 2), range(3), ("early", "final"), SCORES)
        for epoch, accuracy in ((0, None), (1, 0.4 + 0.05 * width), (2, 0.6 + 0.05 * width))
    ]
    rows.write(tmp_path / "results.csv", table(found))
    differ = capacity_matched.differences(rows.by_part(rows.read(tmp_path / "results.csv")))
    assert len(differ) == 2 * 2 * 3 and differ.accuracy.tolist() == pytest.approx([0.65] * 12)
    assert differ.matched.tolist() == pytest.approx([0.1] * 12) and differ["last"].tolist() == pytest.approx(
        [0.11] * 12
    )
    assert "| equivariance | final | +0.110 ± 0.000 | +0.100 ± 0.000 |" in capacity_matched.page(tmp_path)
    panels = capacity_matched.figures(tmp_path)["figure"].axes
    assert [len(axes.lines) for axes in panels] == [2 * 3 + 2] * 4  # a line each training, one each untrained width
    apart = rows.by_part(table(found)).query("width == 1 or accuracy > 0.66")
    assert capacity_matched.differences(apart).matched.isna().all()  # the wide one has no score at this accuracy


def test_tasks_at_equal_numbers_of_live_channels(tmp_path):
    """The turned tasks are 0.2 above MNIST6, of equally many channels 0.1; one seed has no interval."""
    found = [
        {"weight_decay": decay, "seed": seed, "dataset": task, "part": "early", "score": score, "live": live}
        | {"value": 0.5 + above, "chance": 0.1, "equal_value": 0.5 + above / 2, "equal_chance": 0.1}
        for decay, seed in ((0.0005, 0), (0.0005, 1), (0.0, 0))
        for task, live, above in (("mnist6", 5, 0), ("mnist6_rot_inv", 18, 0.2), ("mnist6_rot_eq", 17, 0.2))
        for score in SCORES
    ]
    pd.DataFrame(found).to_csv(tmp_path / "live_channels.csv", index=False)
    page = symmetry_decay.page(tmp_path).splitlines()
    assert page[2] == "| 0.0005 | invariance | early | Rot-Inv | 5.0, 18.0 | +0.200 ± 0.000 | +0.100 ± 0.000 | 2 |"
    assert page[-1] == "| 0 | equivariance | early | Rot-Eq | 5.0, 17.0 | +0.200 ± – | +0.100 ± – | 1 |"
    panels = symmetry_decay.figures(tmp_path)["figure"].axes
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles == ["weight decay 0.0005, 2 seeds", "weight decay 0, 1 seeds"]


def test_what_changes_during_training_counts_each_architecture_once(tmp_path):
    epochs = [
        ("a", 0, 1, 0.0),
        ("a", 0, 3, 0.4),
        ("a", 1, 1, 0.0),
        ("a", 1, 3, 0.2),
        ("b", 0, 1, 0.5),
        ("b", 0, 3, 0.6),
    ]
    table = pd.DataFrame(epochs, columns=["model", "seed", "epoch", "agreement"]).assign(dataset="cifar10")
    others = table[table.epoch == 3].assign(epoch=-1, model=["c", "d", "e"])
    pd.concat([table, others]).assign(accuracy=lambda rows: rows.agreement).to_csv(
        tmp_path / "logits.csv", index=False
    )
    change = decisions.changes(tmp_path, ["agreement"]).set_index("quantity")
    assert change["mean"].agreement == pytest.approx((0.3 + 0.1) / 2) and change["count"].agreement == 2
    assert decisions.correlations(tmp_path, ["agreement"]).networks.tolist() == [3]  # of which no epoch is known
