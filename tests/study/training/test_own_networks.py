"""Networks that keep something of their first pass: they train, resume and are measured as any other."""

import pytest

from equivariance.rows import read

NETWORKS = """
import torch
from torch import nn
from torch.nn import functional as F


class Cached(nn.Module):
    '''Keeps a table of positions, computed in its first pass from a parameter and the map's size.'''

    def __init__(self, num_classes):
        super().__init__()
        self.convolution, self.final = nn.Conv2d(1, 4, 3, 2), nn.Linear(4, num_classes)
        self.table = None

    def forward(self, x):
        x = F.relu(self.convolution(x))
        if self.table is None or self.table.shape != x.shape[2:]:
            rows, columns = (torch.linspace(0, 1, side, device=x.device) for side in x.shape[2:])
            self.table = rows[:, None] * columns
        return self.final((x * self.table).mean((2, 3)))


class Lazy(nn.Sequential):
    def __init__(self, num_classes):
        body = [nn.LazyConv2d(4, 3, 2), nn.LazyBatchNorm2d(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(*body, nn.LazyLinear(num_classes))


class Extra(Lazy):
    '''Has a state that is no tensor, saved with its weights.'''

    def get_extra_state(self):
        return {"version": 3}

    def set_extra_state(self, state):
        assert state == {"version": 3}
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Cached", "Lazy", "Extra"])
def test_a_network_trains_resumes_and_is_measured(run, tmp_path, monkeypatch, name):
    (tmp_path / "keeping.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    given = ("dataset=digits6", "model=own", f"model._target_=keeping.{name}", "recipe=table1", "recipe.epochs=1")
    given += ("recipe.batch_size=400", "measure.images=8", "measure.blocks=1", "measure.whole_accuracy=false")
    trained = run("train.py", *given)  # two steps
    assert trained.code == 0, trained.error
    assert "is complete" in run("train.py", *given).out
    measured = run("measure.py", *given)
    assert measured.code == 0, measured.error
    table = read(next(tmp_path.rglob("results.csv")))
    assert "final" in set(table.layer) and table.trained.all() and table.value.between(0, 1).all()
