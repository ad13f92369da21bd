"""Spearman's rho, its p-value and interval against scipy and against all permutations."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from equivariance import rows
from equivariance.figures import style
from equivariance.names import PARTS
from equivariance.rows import by_part
from equivariance.study.figures import plot_rank_correlation
from equivariance.study.rank_correlation import (
    ACCURACY,
    agreements,
    rank_correlation,
    with_accuracy,
    with_agreement,
)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [False, True])
def test_rho_is_scipys_and_p_that_of_all_permutations(seed, ties):
    x, y = np.random.default_rng(seed).normal(size=(2, 6))
    if ties:
        x, y = x.round(), y.round(1)
    found = rank_correlation(x, y)
    assert found.rho == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    everything = np.array([spearmanr(x, order).statistic for order in permutations(y)])
    above, below = (everything >= found.rho - 1e-9).mean(), (everything <= found.rho + 1e-9).mean()
    assert found.p == pytest.approx(min(1, 2 * min(above, below)), abs=1e-12)


@pytest.mark.parametrize(
    ("order", "rho", "p"),
    [
        ((1, 2, 3, 4, 5, 6), 1, 0.0028),
        ((2, 1, 4, 3, 6, 5), 0.829, 0.0583),
        ((1, 2, 5, 3, 6, 4), 0.714, 0.1361),
        ((6, 5, 4, 3, 2, 1), -1, 0.0028),
    ],
)
def test_p_of_six_networks(order, rho, p):
    """As in tables of the exact distribution (Zar 1972)."""
    found = rank_correlation(range(6), order)
    assert (found.rho, found.p) == (pytest.approx(rho, abs=5e-4), pytest.approx(p, abs=5e-5))


def test_many_networks_agree_with_scipys_approximation():
    generator = np.random.default_rng(1)
    x = generator.normal(size=60)
    y = x + 3 * generator.normal(size=60)
    found, theirs = rank_correlation(x, y), spearmanr(x, y)
    assert found.rho == pytest.approx(theirs.statistic)
    assert found.p == pytest.approx(theirs.pvalue, rel=0.15, abs=0.003)
    assert found.low < found.rho < found.high and found == rank_correlation(x, y)


def test_intervals_cover_the_truth():
    generator = np.random.default_rng(0)
    truth = 6 / np.pi * np.arcsin(0.25)  # Spearman's rho of normal variables with correlation 0.5
    covered = 0
    for _ in range(12):
        x = generator.normal(size=30)
        found = rank_correlation(x, 0.5 * x + 0.75**0.5 * generator.normal(size=30))
        covered += found.low <= truth <= found.high
    assert covered >= 10


def test_what_has_no_correlation():
    assert np.isnan(rank_correlation([1, 2, 3, 4], [5, 5, 5, 5]).rho)
    assert np.isnan(rank_correlation([1], [2]).rho)
    left_out = rank_correlation([1, np.nan, 3, 2], [1, 9, 3, 2])
    assert left_out.networks == 3 and left_out.rho == 1 and np.isnan(left_out.low)
    two = rank_correlation([1, 2], [3, 4])
    assert np.isnan(two.rho) and str(two) == "rho not defined, n = 2"


def test_no_interval_where_accuracies_have_few_different_values():
    """As those of networks that are counted on few images, or hardly differ."""
    few = rank_correlation(range(12), [0.7, 0.7, 0.8] * 4)
    assert not np.isnan(few.rho) and np.isnan(few.low) and "[" not in str(few)
    five = rank_correlation(range(5), [3, 1, 2, 5, 4])
    assert -1 <= five.low < five.rho < five.high <= 1


def test_constant_resamples_widen_the_interval():
    """Nearly all accuracies are the same: most of what resampling could find is not known."""
    accuracies = [0.5] * 26 + [0.6, 0.7, 0.8, 0.9]
    found = rank_correlation(range(30), accuracies)
    spread = rank_correlation(range(30), np.linspace(0.5, 0.9, 30) + np.tile([0.1, -0.1], 15))
    assert found.high - found.low > spread.high - spread.low


def test_correlations_by_part_average_elements_and_layers_first():
    rows = pd.DataFrame(
        {
            **{"model": f"m{model}", "trained": True, "seed": 0, "transform": "rotation", "part": "early"},
            **{"score": "invariance", "index": index, "element": element, "chance": 0.0},
            **dict.fromkeys(("dataset", "aug", "width", "similarity", "over", "epoch"), "same"),
            "value": (model * 0.1 if element == 90 else -model * 0.05) + (index - 0.5),
            "accuracy": 0.5 + 0.01 * model if model < 5 else None,
        }
        for model in range(6)
        for index in range(2)
        for element in (90, 180)
    )
    (found,) = with_accuracy(rows).itertuples()
    assert (found.rho, found.networks, found.part) == (1, 5, "early") and found.p == pytest.approx(2 / 120)
    assert with_accuracy(rows.assign(accuracy=None)).empty
    many = pd.concat([rows.assign(index=index) for index in range(40)]).assign(accuracy=0.864)
    assert set(by_part(many).accuracy) == {0.864}  # their mean is another number, and equal ones would differ


def felt(agreement, late):
    """Networks of three authors: early scores fall with their agreement, late ones are given."""
    return pd.DataFrame(
        {"dataset": "d", "model": name, "aug": "none", "width": None, "trained": True, "seed": 0, "epoch": None}
        | {"transform": "translation", "similarity": "pearson", "over": "image", "score": "invariance"}
        | {"element": element, "layer": part, "part": part, "index": index, "value": value, "chance": 0.1}
        | {"agreement": share + 0.1 * element if part == "final" else None, "accuracy": 1 - share}
        for name, share, score in zip(("a_1", "a_2", "b_1", "b_2", "c_1", "c_2"), agreement, late, strict=True)
        for element in (1, 2)
        for index, (part, value) in enumerate((("early", -share), ("late", score), ("final", share)))
    ).reindex(columns=rows.COLUMNS)


def test_which_part_goes_with_agreement():
    agreement, late = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.6, 0.5, 0.1, 0.2, 0.3, 0.4]
    table = felt(agreement, late)
    found = agreements(table).drop_duplicates("model")
    assert found.agreement.tolist() == pytest.approx([share + 0.15 for share in agreement])
    each = with_agreement(table).set_index("part")
    assert each.rho[["early", "final", "accuracy"]].tolist() == pytest.approx([-1, 1, -1])
    assert each.rho["late"] == pytest.approx(spearmanr(agreement, late).statistic)
    left_out = [
        spearmanr(np.delete(agreement, two), np.delete(late, two)).statistic for two in ([0, 1], [2, 3], [4, 5])
    ]
    assert (each.lowest["late"], each.highest["late"]) == pytest.approx((min(left_out), max(left_out)))
    two_authors = with_agreement(table[~table.model.str.startswith("c")])
    assert two_authors.lowest.isna().all() and two_authors.highest.isna().all()  # one author has too few networks
    assert (each.networks == 6).all()
    without = table.assign(agreement=table.agreement.where(table.model != "c_2"))
    assert (with_agreement(without).networks == 5).all()
    found = with_agreement(table).dropna(subset="low")
    figure = plot_rank_correlation(found, (*PARTS, ACCURACY), "rho")
    (panel,) = figure.axes
    drawn = {label: place for place, label in enumerate(tick.get_text() for tick in panel.get_xticklabels())}
    points = {(round(x), round(y, 6)) for line in panel.lines for x, y in zip(*line.get_data(), strict=True)}
    assert {(drawn["early"], -1.0), (drawn["accuracy"], -1.0)} <= points
    style.plt.close(figure)
