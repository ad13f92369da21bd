"""What a user feels: the predicted class under transformations; and the control of those that interpolate."""

import pytest
import torch
from torch import nn

from equivariance.errors import UserError
from equivariance.figures.summary import summary
from equivariance.metric.equivariance import Equivariance
from equivariance.study.identity import options
from equivariance.study.models import CNN7
from equivariance.study.partners import orbits
from equivariance.transforms.interpolated import disc, rotation
from equivariance.transforms.sets import rotations, shifts, subpixel_shifts

TURNS = rotations([90, 180, 270])
FELT = ["agreement", "top1", "agreement_worst", "top1_worst"]


class Corner(nn.Module):
    """The class is the brightest quadrant: top left, top right, bottom left, bottom right."""

    def __init__(self):
        super().__init__()
        self.stem = nn.AvgPool2d(2)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 4, bias=False).double())
        self.head[2].weight.data = torch.eye(4).double()

    def forward(self, x):
        return self.head(self.stem(x).mean(1, keepdim=True))

    def feature_layers(self):
        return {"stem": self.stem, "final": self.head}


def pictures():
    """Ten pictures without a corner (all quadrants alike but for the first one), and ten of the top right one."""
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double() / 100
    x[10:, :, :4, 4:] += 1
    x[:10, :, 3:5, 3:5] += torch.tensor([[4.0, 3.0], [2.0, 1.0]])
    return x


def measured(images, labels, transforms, sizes=7, model=None):
    metric = Equivariance(model or Corner(), transforms)
    for part in range(0, len(images), sizes):
        cut = slice(part, part + sizes)
        metric.update(images[cut], None if labels is None else labels[cut])
    return metric


def test_agreement_and_accuracy_under_turns_by_hand():
    images = pictures()
    images[:10] = images[:10].mean((2, 3), keepdim=True)  # now turns change nothing at all
    images[0, 0, 7, 7] += 1  # but of this one: bottom right
    labels = torch.ones(20, dtype=torch.long)  # class 1: the top right quadrant
    table = measured(images, labels, TURNS).compute()
    final = table[(table.layer == "final") & (table.score == "invariance")].set_index("element")
    # nine of 20 stay; where all quadrants are equal the first one is predicted, class 0
    assert final.agreement.tolist() == [0.45] * 3 and final.agreement_worst.tolist() == [0.45] * 3
    # of class 1 under g: image 0 comes from the bottom right to the top right by 90 degrees counter-clockwise
    assert final.top1.tolist() == [0.05, 0, 0] and final.top1_worst.tolist() == [0] * 3
    assert table[table.layer == "stem"][FELT].isna().all(axis=None)


def test_the_worst_is_over_all_elements_at_once_and_by_transformation():
    images = torch.zeros(4, 1, 8, 8).double()
    images[0, 0, 0, 0] = images[1, 0, 0, 3] = images[2, 0, 0, 2] = images[3, 0, 2, 2] = 1
    transforms = [*shifts([1, 2], "horizontal", "circular"), *rotations([180])]
    table = measured(images, torch.zeros(4, dtype=torch.long), transforms).compute()
    final = table[(table.layer == "final") & (table.score == "invariance")]
    moved = final[final["transform"] == "circular translation"].set_index("element")
    assert moved.agreement.to_dict() == {1: 0.75, 2: 0.25} and moved.agreement_worst.tolist() == [0.25] * 2
    assert moved.top1_worst.tolist() == [0.25] * 2
    assert final[final["transform"] == "rotation"].agreement_worst.item() == 0


def test_batches_merging_and_labels(monkeypatch):
    images, labels = pictures(), torch.arange(20) % 4
    columns = ["layer", "element", "score", *FELT]
    whole = measured(images, labels, TURNS, 100).compute()[columns]
    halves = measured(images[:10], labels[:10], TURNS, 3)
    halves.compute()
    second = Equivariance(Corner(), TURNS)
    second.reset(10)
    second.update(images[10:], labels[10:])
    halves.merge_state(second)
    assert whole.equals(halves.compute()[columns])
    without = measured(images, None, TURNS).compute()
    assert without.top1.isna().all() and without.agreement.notna().any()


def test_two_transformations_may_share_an_element():
    images = pictures()
    transforms = [*shifts([1]), *subpixel_shifts([1])]
    metric = measured(images, None, transforms)
    table = metric.compute()
    assert not table.duplicated(["layer", "transform", "element", "score"]).any()
    assert table.groupby("transform").size().nunique() == 1
    with pytest.raises(UserError, match="2 of the transformations have the element 1"):
        metric.similarities("stem", 1)
    metric.similarities("stem", transforms[0])
    assert "predicted class stays" in summary(table)


def test_the_control_of_interpolated_transformations():
    """Exact turns have none; a control is 1 at 90 degrees, and what it is when it is measured alone."""
    torch.manual_seed(0)
    model, images = CNN7(1, 6, padding=1).double(), torch.rand(6, 1, 28, 28).double()
    transforms = rotations([30, 90])
    table = measured(images, None, transforms, model=model).compute()
    blocks = table[~table.layer.isin(["pool", "final"])]
    assert blocks[blocks.element == 90].control.min() == pytest.approx(1, abs=1e-9)
    slanted = blocks[blocks.element == 30].set_index(["layer", "score"]).control
    assert slanted.max() < 0.9999
    alone = Equivariance(model, [transforms[0].control])
    alone.update(images)
    expected = alone.compute().set_index(["layer", "score"]).value
    for key, value in slanted.items():
        assert value == pytest.approx(expected[key], abs=1e-12)
    exact = measured(images, None, rotations([90]), model=model).compute()
    assert exact.control.isna().all()
    text = summary(table)
    assert " control " in text and "control below 90% in" in text and "interpolation takes part" in text
    assert "control" not in summary(exact)


def test_maps_and_orbits_see_the_images_that_are_measured():
    """Rotations are measured on a disc of each image, which must be cut once, and before the image is turned."""
    torch.manual_seed(0)
    model, images = CNN7(1, 6, padding=1).double(), torch.rand(4, 1, 28, 28).double()
    metric = measured(images, None, [rotation(90)], model=model)
    seen = []
    handle = model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    metric.maps(images[:1], metric.transforms)
    orbits(metric, images[:1], metric.partners())
    handle.remove()
    for batch in seen:
        torch.testing.assert_close(batch, torch.cat([disc(images[:1]), disc(images[:1]).rot90(1, (2, 3))]))
    assert len(seen) == 2


def test_other_angles_have_a_folder_of_their_own():
    assert options(["measure.transform.elements=[15,30]"]) == "-15-30"
    assert options(["measure.transform.elements=[22.5]", "model=cnn7"]) == "-22.5" and options(["model=cnn7"]) == ""
