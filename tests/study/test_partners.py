"""Partner channels on layers whose partners are known."""

from dataclasses import dataclass

import pandas as pd
import pytest
import torch
from torch import nn

from equivariance.errors import UserError
from equivariance.metric.equivariance import Equivariance
from equivariance.metric.partners import partners
from equivariance.study.models import GaussianCNN
from equivariance.study.partners import composition, keep, kept, shares, strongest
from equivariance.transforms.exact import Shift
from equivariance.transforms.sets import rotations
from tests.metric.test_measure import filled

TURNS = (90, 180, 270)


def cyclic(order=4, invariants=1):
    """r of a layer of `order` channels that a quarter turn permutes in a circle, and invariant ones, by element."""
    size = order + invariants
    tables = []
    for degrees in TURNS:
        r = torch.full((size, size), 0.1, dtype=torch.float64)
        for c in range(order):
            r[c, (c - degrees // 90) % order] = 0.9
        for c in range(order, size):
            r[c, c] = 0.8
        tables.append(partners("block1", 0, "rotation", degrees, r))
    return pd.concat(tables)


def test_partners_of_a_cyclic_layer():
    table = cyclic()
    assert table[table.element == 90].partner.tolist() == [3, 0, 1, 2, 4]
    kinds = shares(table)
    assert kinds.invariant.tolist() == pytest.approx([0.2] * 3) and kinds.partner.tolist() == pytest.approx(
        [0.8] * 3
    )
    (row,) = composition(table).to_dict("records")
    assert row["agree"] == 1 and row["pairs"] == 9 * 5


def test_partners_that_do_not_compose_are_seen():
    table = cyclic()
    table.loc[table.element == 180, "partner"] = 0
    assert composition(table).agree.iloc[0] < 0.7


def test_partners_are_kept_with_the_measurement(tmp_path):
    table = cyclic()
    keep(table, tmp_path)
    again = kept(tmp_path)
    for column in table:
        assert again[column].tolist() == pytest.approx(table[column].tolist(), abs=1e-6), column
    (tmp_path / "partners.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="is damaged; give this one another"):
        kept(tmp_path)


@pytest.mark.slow
def test_orbits_are_drawn_of_a_finished_measurement(run, tmp_path):
    """Of any layer and channel, under shifts past the size of a map, and without a further look at the images."""
    given = ("model=cnn7", "dataset=digits6", "measure.trained=false", "measure=translation", "measure.images=6")
    assert run("measure.py", *given).code == 0
    (folder,) = tmp_path.glob("runs/*/*/*/*/measure/*")
    before = (folder / "results.csv").stat().st_mtime_ns
    assert not (folder / "partners.csv").exists()
    layer = ("measure.partners.layer=block2",)
    result = run("measure.py", *given, *layer, "measure.partners.channel=3")
    assert result.code == 0 and "is complete" in result.out, result.error
    assert (folder / "orbits.png").stat().st_size > 5000 and (folder / "channels.png").stat().st_size > 5000
    found = pd.read_csv(folder / "partners.csv")
    scores = pd.read_csv(folder / "results.csv").query("score == 'equivariance'")
    own = found.groupby(["layer", "element"]).r.mean().clip(lower=0)
    value = scores.set_index(["layer", "element"]).value
    assert (own - value).abs()["block1"].max() < 1e-4 and (folder / "results.csv").stat().st_mtime_ns == before
    for wrong, message in (
        (("measure.partners.layer=blok",), "choose block1"),
        ((*layer, "measure.partners.channel=99"), "no live channel of block2"),
    ):
        assert message in run("measure.py", *given, *wrong).error


def test_weak_channels_have_no_partner_and_dead_ones_do_not_count():
    r = torch.full((3, 3), 0.2, dtype=torch.float64)
    r[2] = r[:, 2] = torch.nan
    table = partners("block1", 0, "rotation", 90, r)
    assert table.channel.tolist() == [0, 1]
    assert shares(table).none.tolist() == [1.0]
    assert composition(table).empty


def test_the_strongest_orbit_is_shown_once():
    (orbit,) = strongest(cyclic(), 5)
    assert set(orbit.partner) == {1, 2, 3} and (orbit.channel == 0).all()


def test_an_orbit_has_every_element():
    table = cyclic()
    dead = (table.element == 180) & (table.channel == 0)
    (orbit,) = strongest(table[~dead], 5)
    assert orbit.element.tolist() == [*TURNS] and (orbit.channel != 0).all()


def test_a_network_made_by_hand_has_the_partners_it_was_given():
    """The filters of channel c are those of channel c - 1 turned once, so p_90(c) = c - 1."""
    images = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0)).double()
    found = filled(images, 20, model=GaussianCNN(1, 4, "cut").double()).partners()
    one = found[(found.layer == "block1") & (found.element == 90)]
    assert one.partner.tolist() == [3, 0, 1, 2]
    assert found.r.min() == pytest.approx(1, abs=1e-9)
    composed = composition(found)
    assert len(composed) == 4 and (composed.agree == 1).all() and (composed.pairs > 0).all()


def test_transformations_that_share_an_element_have_partners_of_their_own():
    """A shift down by one position changes the two channels, a shift to the right leaves each where it is."""

    class Edges(nn.Module):
        """The brightness of every second row, and of the rows between."""

        def forward(self, x):
            rows = torch.arange(x.shape[2])[:, None] % 2
            return torch.cat([x * rows, x * (1 - rows)], 1)

    @dataclass(frozen=True)
    class Named(Shift):
        @property
        def name(self):
            return f"shift {self.direction}"

    transforms = [Named(1, "vertical", "circular"), Named(1, "horizontal", "circular"), *rotations([180])]
    images = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    metric = Equivariance(nn.Sequential(Edges(), nn.Identity()), transforms, ["0"])
    metric.update(images)
    found = metric.partners()
    assert found.groupby("transform").partner.agg(list).to_dict() == {
        "rotation": [1, 0],
        "shift horizontal": [0, 1],
        "shift vertical": [1, 0],
    }
    assert len(shares(found)) == 3 and not found.duplicated(["layer", "transform", "element", "channel"]).any()
    (composed,) = composition(found[found["transform"] == "rotation"]).to_dict("records")
    assert composed["agree"] == 1 and composed["transform"] == "rotation"
    assert all(len(orbit) == 3 for orbit in strongest(found, 3))
