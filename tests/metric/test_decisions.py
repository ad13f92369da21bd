"""Logits taken apart, `scripts/decisions.py`."""

import numpy as np
import pytest
import torch

from scripts.decisions import quantities


def logits(seed):
    return torch.randn(60, 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_what_does_not_change_is_1():
    assert quantities(logits(0), logits(0)) == pytest.approx(dict.fromkeys(quantities(logits(0), logits(1)), 1.0))


def test_correlations_are_numpys():
    a, b = logits(0), logits(0) + logits(1)
    found = quantities(a, b)
    by_class = [np.corrcoef(a[:, c], b[:, c])[0, 1] for c in range(20)]
    by_image = [np.corrcoef(one, other)[0, 1] for one, other in zip(a, b, strict=True)]
    assert found["over_images"] == pytest.approx(np.mean(by_class))
    assert found["over_classes"] == pytest.approx(np.mean(by_image))


def test_a_number_added_to_all_logits_of_an_image_changes_no_decision():
    """Over classes and behind softmax nothing has changed; over images it has."""
    found = quantities(logits(0), logits(0) + 3 * logits(1)[:, :1])
    same = ("agreement", "over_classes", "softmax_over_classes", "softmax_over_images")
    assert all(found[name] == pytest.approx(1) for name in same) and found["over_images"] < 0.8


def test_parts_are_of_the_largest_logits_and_of_the_rest():
    """The largest logit of each image stays and the others are drawn anew: about 1 for it, about 0 for the rest."""
    before, after = logits(0), logits(1)
    largest = before.argmax(1, keepdim=True)
    found = quantities(before, after.scatter(1, largest, before.gather(1, largest)))
    assert found["largest_1"] > 0.8 and abs(found["rest_1"]) < 0.1
