"""Scores at equal numbers of live channels, `scripts/live_channels.py`."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from equivariance.study.tables import extend
from scripts import live_channels
from scripts.live_channels import drawn, scores


@pytest.fixture
def r():
    return 2 * torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0)) - 1


def test_of_all_channels_they_are_the_scores_of_the_measure(r):
    whole = r.clamp(min=0).numpy()
    expected = {"invariance": np.mean([np.diag(each) for each in whole]), "equivariance": whole.max(2).mean()}
    assert scores(r) == pytest.approx(expected)
    assert scores(drawn(r, 6)) == pytest.approx(expected)


def test_fewer_channels_have_the_mean_over_all_choices(r):
    """Two of six channels: the draws come near the mean over all fifteen pairs; fewer partners, a lower maximum."""
    pairs = [r[:, list(pair)][:, :, list(pair)].clamp(min=0) for pair in combinations(range(6), 2)]
    expected = np.mean([pair.max(2).values.mean() for pair in pairs])
    spread = np.std([pair.max(2).values.mean() for pair in pairs]) / np.sqrt(200)
    found = scores(drawn(r, 2))
    assert abs(found["equivariance"] - expected) < 4 * spread
    assert found["equivariance"] < scores(r)["equivariance"] - 0.1


def test_rows_of_each_task_are_drawn_from_the_channels_of_the_task_that_has_fewest(r, monkeypatch, tmp_path):
    layers = {"block1": SimpleNamespace(index=0, part="early"), "block2": SimpleNamespace(index=1, part="middle")}
    chance, fewer = torch.zeros_like(r), r[:, :2, :2]
    found = {
        "mnist6": {"block1": (fewer, chance[:, :2, :2]), "block2": (r[:, :0, :0], chance[:, :0, :0])},
        "mnist6_rot_inv": {"block1": (r, chance), "block2": (r, chance)},
    }
    monkeypatch.setattr(live_channels, "correlations", lambda task: (layers, found[task]))
    table = live_channels.rows((0.0005, 3), {task: task for task in found})
    assert len(table) == 2 * 2 and set(table.layer) == {
        "block1"
    }  # in the other layer no channel of MNIST6 is alive
    assert (table.weight_decay == 0.0005).all() and (table.seed == 3).all() and (table.drawn == 2).all()
    one = table[table.score == "equivariance"].set_index("dataset")
    assert one.live.to_dict() == {"mnist6": 2, "mnist6_rot_inv": 6} and (one.chance == 0).all()
    assert (
        one.value["mnist6"]
        == pytest.approx(one.equal_value["mnist6"])
        == pytest.approx(scores(fewer)["equivariance"])
    )
    assert (
        one.equal_value["mnist6_rot_inv"] < one.value["mnist6_rot_inv"] == pytest.approx(scores(r)["equivariance"])
    )


def test_a_table_goes_on_where_it_stopped(tmp_path):
    """Rows that are there are not made again, and what was made stays when the next one fails."""
    file = tmp_path / "rows.csv"

    def failing():
        raise RuntimeError

    def row(value):
        return lambda: pd.DataFrame([{"a": 1, "b": value, "x": 0.5}])

    with pytest.raises(RuntimeError):
        extend(file, ["a", "b"], [((1, "first"), row("first")), ((1, "second"), failing)])
    extend(file, ["a", "b"], [((1, "first"), failing), ((1, "second"), row("second"))])
    assert file.read_text() == "a,b,x\n1,first,0.50000\n1,second,0.50000\n"
