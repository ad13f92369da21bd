"""Exact transformations."""

import pytest

from equivariance.names import ELEMENTS
from equivariance.study.transforms import relative_shifts
from equivariance.transforms import sets


@pytest.mark.parametrize("border", ["overlap", "full", "circular"])
def test_shifts_of_several_borders_can_stand_in_one_table(border):
    """Each border's rows go by a name of their own, whose axis is known; the overlap's as they always did."""
    (shift,), (relative,) = sets.shifts(3, border=border), relative_shifts("1/8", 32, border=border)
    before = "" if border == "overlap" else f"{border} "
    assert shift.name == f"{before}translation" and relative.name == f"{before}relative translation"
    assert {shift.name, relative.name} <= ELEMENTS.keys()
