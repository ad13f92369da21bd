"""The tests that decide the claims, on made-up rows for which the answer is known: every outcome of every kind."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from equivariance import rows
from equivariance.errors import UserError
from equivariance.names import SCORES
from equivariance.study.verdicts.decide import ALPHA, Case, Range, decided, over_networks, over_units
from equivariance.study.verdicts.rules import (
    Claim,
    Evidence,
    agreed,
    asks,
    claimed,
    described,
    document,
    evidence_of,
    fewer_seeds,
    in_words,
    judge,
    said,
)
from tests.conftest import REPOSITORY

COMMON = {
    "experiment": "made up",
    "dataset": "cifar10",
    "model": "net",
    "aug": "none",
    "width": 1,
    "trained": True,
    "seed": 0,
    "similarity": "pearson",
    "over": "image",
    "chance": 0.0,
    "activation": 0.0,
    "images": 100,
    "channels": 8,
    "dead_channels": 0,
    "epoch": 100,
    "epochs": 100,
}


def table(found):
    return pd.DataFrame([COMMON | one for one in found]).reindex(columns=[*rows.COLUMNS])


def verdicts(test, results, compare=None, **more):
    """What a test says of rows; `more` belongs to the claim."""
    claim = Claim("X1", "made up", "nobody", "made up", tests=(test,) if isinstance(test, dict) else test, **more)
    return judge(claim, Evidence("full", ("none",), "made up", compare or {}), results)


def state(test, results, **more):
    (verdict,) = verdicts(test, results, **more)
    return verdict.state


LAYERS = [*(f"block{i}" for i in range(1, 8)), "pool", "final"]
OF = ["early"] * 3 + ["middle"] * 2 + ["late"] * 2 + ["pool", "final"]
TASKS = ("mnist6", "mnist6_rot_inv", "mnist6_rot_eq")


def symmetry(invariance, equivariance, shift=0.0):
    """Three tasks and seeds with these curves; the turned tasks are `shift` higher in the early layers."""
    noise = np.random.default_rng(0)
    return table(
        {"dataset": task, "model": "cnn7", "seed": seed, "index": index, "layer": LAYERS[index], "part": OF[index]}
        | {"element": 90, "transform": "rotation", "score": score}
        | {"value": value + shift * (task != "mnist6" and OF[index] == "early") + 0.001 * noise.normal()}
        for task, seed in product(TASKS, range(3))
        for score, curve in (("invariance", invariance), ("equivariance", equivariance))
        for index, value in enumerate(curve)
    )


CIFAR = {"stem": "early", "block1": "early", "block2": "middle", "block3": "late", "pool": "pool", "final": "final"}


def shifts(networks, column, seeds=(0, 1, 2), gap=0.0, period=True, **more):
    """Shifts by 1 to 16 pixels; scores fall, and with `period` dip between the stride's multiples.

    Args:
        networks: for each value of `column`, what is added to the scores of some parts.
        gap: equivariance minus invariance.
    """
    found, noise = [], np.random.default_rng(0)
    for network, seed, (index, (layer, part)) in product(networks, seeds, enumerate(CIFAR.items())):
        stride = {"middle": 2, "late": 4}.get(part, 1)
        own = 0.002 * noise.normal()
        for shift, score in product(range(1, 17), SCORES):
            value = 0.5 + networks[network].get(part, 0) + own - 0.01 * shift
            value += 0.05 * (period and shift % stride == 0) + gap * (score == "equivariance")
            where = {"index": index, "layer": layer, "part": part, "element": shift, "transform": "translation"}
            found.append(where | {"seed": seed, "score": score, "value": value, column: network} | more)
    return table(found)


RAISED = {"middle": 0.1, "late": 0.1, "final": 0.1}
REPORTED = {"none": {}, "crop": RAISED, "flip": {}, "cutmix": {"middle": -0.1}, "randaugment": RAISED}


def test_every_claim_has_tests_and_evidence_and_a_sentence():
    for number, claim in claimed().items():
        asking = [
            one for one in evidence_of(claim.group) if number in (one.claims or (number,)) and asks(claim, one)
        ]
        assert asking, f"{number}: no evidence"
        assert claim.tests or (REPOSITORY / "experiments" / claim.group / "claims.py").exists()
        assert all(in_words(test, claim.group) in str(claim) for test in claim.tests) and str(claim)
        assert not any(test.get("smallest") for test in claim.tests) or claim.note, (
            f"{number}: an effect without a reason"
        )
    assert {kind for about in described().values() for kind in about["evidence"]} == {"full", "reduced", "public"}


def pairs(difference, noise=0.001, seeds=(0, 1, 2), half=0.0):
    """Two networks a, b of each seed; b's scores are higher by `difference` in the middle."""
    draw = np.random.default_rng(0)
    return table(
        {"aug": aug, "seed": seed, "layer": part, "part": part, "index": index, "element": 90, "score": score}
        | {"transform": "rotation", "value": value, "low": value - half, "high": value + half}
        for (index, part), seed in product(enumerate(("early", "middle")), seeds)
        for score, own in product(SCORES, [draw.normal()])  # what the networks of a seed share does not count
        for aug in ("a", "b")
        for value in [0.5 + 0.1 * own + (aug == "b" and part == "middle") * difference + noise * draw.normal()]
    )


MIDDLE = {"for": {"part": ["middle"], "score": ["invariance"]}, "plus": {"aug": "b"}, "minus": {"aug": "a"}}


@pytest.mark.parametrize(
    ("expect", "holds", "contradicted"),
    [
        ("higher", 0.1, 0.0),
        ("higher", 0.03, -0.1),
        ("higher", 0.03, 0.015),  # too small to matter
        ("lower", -0.1, 0.0),
        ("equal", 0.0, 0.1),
        ("equal", 0.015, -0.03),
        ("differs", 0.1, 0.0),
        ("differs", -0.03, 0.01),
        ("reaches", 0.0, -0.1),
        ([0.05, 0.1], 0.07, 0.2),
        ([None, 0.1], -3, 0.2),
    ],
)
def test_differences(expect, holds, contradicted):
    test = MIDDLE | {"expect": expect}
    assert state(test, pairs(holds)) == "holds"
    assert state(test, pairs(contradicted)) == "contradicted"
    edge = {"higher": 0.02, "lower": -0.02, "reaches": -0.02}.get(
        str(expect), 0.1 if isinstance(expect, list) else 0.02
    )
    assert state(test, pairs(edge, noise=0.01)) == "undecided"
    assert state(test, pairs(holds, seeds=[0])) == "undecided"  # one network a condition never decides
    assert state(test, pairs(holds, half=2.0)) == "undecided"  # nor do few images
    assert state(test, pairs(holds)[lambda one: one.aug == "a"]) == "not run"


def test_a_smallest_effect_of_its_own():
    assert state(MIDDLE | {"expect": "higher", "smallest": 0.2}, pairs(0.1)) == "contradicted"
    assert state(MIDDLE | {"expect": "equal", "smallest": 0.2}, pairs(0.1)) == "holds"


def test_several_parts_and_what_does_not_vote():
    both = MIDDLE | {"expect": "higher", "for": {"part": ["early", "middle"]}}
    assert state(both, pairs(0.1), parts=True) == "partly"
    assert state(both, pairs(0.1)) == "contradicted"  # one claim of all parts
    voting = MIDDLE | {"expect": "higher", "also": {"part": ["early"]}}
    (verdict,) = verdicts(voting, pairs(0.1))
    table = pd.DataFrame(verdict.outcome.rows()).set_index("case")
    assert verdict.state == "holds" and not table.votes["early, invariance"]
    assert str(verdict.outcome).startswith("holds: middle, invariance +0.09")


def test_differences_of_differences():
    table = pairs(0.1)
    test = {"for": {"aug": ["b"], "score": ["invariance"]}, "plus": {"part": "middle"}, "minus": {"part": "early"}}
    assert state(test | {"against": {"aug": "a"}, "expect": [0.09, 0.11]}, table) == "holds"
    assert state(test | {"against": {"aug": "b"}, "expect": "equal"}, table) == "holds"


def curves(slopes, activations=(0.0,), noise=0.0):
    """Networks whose scores rise with depth by these slopes, or follow the activation, which alternates."""
    draw = np.random.default_rng(0)
    return table(
        {"model": f"net{n}", "seed": n, "layer": f"block{index}", "part": "early", "index": index, "element": 90}
        | {"transform": "rotation", "score": "invariance", "activation": index % 2}
        | {"value": 0.5 + slope * index + activations[n % len(activations)] * (index % 2) + noise * draw.normal()}
        for n, slope in enumerate(slopes)
        for index in range(8)
    )


def test_trends_with_depth_and_activation():
    falls, depth = {"along": "index", "expect": "lower"}, (-0.01, -0.02, -0.03)
    assert state(falls, curves(depth)) == "holds"
    assert state(falls, curves([-slope for slope in depth])) == "contradicted"
    assert state(falls, curves(depth, noise=0.5)) == "undecided"
    assert state(falls, curves(depth[:1])) == "undecided"
    assert state(falls, curves(depth)[lambda one: one["index"] < 2]) == "not run"
    follows = {"along": "activation", "expect": [0.9, None]}
    assert state(follows, curves([0.0001, 0, 0], [0.1])) == "holds"
    assert state(follows, curves([0.0001, 0, 0], [-0.1])) == "contradicted"


def networks(score, count=20, noise=0.0):
    """Networks whose accuracy grows with their number, and their score by part as given."""
    draw = np.random.default_rng(0)
    return table(
        {"model": f"net{n}", "layer": part, "part": part, "index": index, "element": 90, "transform": "rotation"}
        | {"score": "invariance", "accuracy": 0.5 + 0.01 * n, "value": score[part] * n / 50 + noise * draw.random()}
        for n in range(count)
        for index, part in enumerate(score)
    )


def test_rank_correlations_and_their_growth():
    rises = {"for": {"part": ["final"]}, "rank": "accuracy", "expect": [0.8, 1]}
    assert state(rises, networks({"final": 1})) == "holds"
    assert state(rises, networks({"final": -1})) == "contradicted"
    assert state(rises, networks({"final": 1}, noise=0.2)) == "undecided"
    assert state(rises, networks({"final": 1}, count=5)) == "undecided"
    assert state(rises, networks({"early": 1})) == "not run"
    growth = rises | {"minus": {"part": "early"}, "expect": "higher"}
    assert state(growth, networks({"early": -1, "final": 1})) == "holds"
    assert state(growth, networks({"early": 1, "final": 1})) == "contradicted"
    assert state(growth, networks({"early": 0.3, "final": 0.3}, noise=1)) == "undecided"
    other = {"plus": {"part": "early"}, "rank": {"part": "final"}, "expect": "higher"}
    assert state(other, networks({"early": 2, "final": 1})) == "holds"
    assert state(other, networks({"early": -2, "final": 1})) == "contradicted"


def agreements(gain, authors=4, noise=0.01):
    """Networks of two depths of several authors; the deeper one agrees by so much more."""
    draw = np.random.default_rng(0)
    found = table(
        {"model": f"{author}{depth}", "layer": "final", "part": "final", "element": 1, "transform": "translation"}
        | {"score": "invariance", "value": 0.5, "agreement": 0.5 + gain * (depth == 56) + noise * draw.normal()}
        for author, depth in product(range(authors), (20, 56))
    )
    return found.assign(series=found.model.str[0], depth=found.model.str[1:].astype(int))


def test_another_column_and_unit():
    deeper = {"plus": {"depth": 56}, "minus": {"depth": 20}, "column": "agreement", "unit": "series"}
    deeper |= {"for": {"part": ["final"]}, "expect": "higher"}
    assert state(deeper, agreements(0.2)) == "holds"
    assert state(deeper, agreements(-0.2)) == "contradicted"
    assert state(deeper, agreements(0.02)) == "undecided"
    assert state(deeper, agreements(0.2, authors=1)) == "undecided"
    assert state(deeper, agreements(0.2)[lambda one: one.depth == 20]) == "not run"


KINDS_OF_TESTS = {  # a test of two parts, and rows of which the first fulfils both and the second the first alone
    "difference": (
        MIDDLE | {"expect": "higher", "for": {"part": ["middle", "early"]}},
        pairs(0.1).assign(value=lambda one: one.value + 0.1 * ((one.aug == "b") & (one.part == "early"))),
        pairs(0.1),
    ),
    "along": (
        {"along": "index", "for": {"score": ["invariance", "equivariance"]}, "expect": "lower"},
        *(
            pd.concat([curves([-0.01] * 3), curves([slope] * 3).assign(score="equivariance")])
            for slope in (-0.01, 0.01)
        ),
    ),
    "rank": (
        {"rank": "accuracy", "for": {"part": ["final", "early"]}, "expect": "higher"},
        *(networks({"final": 1, "early": sign}) for sign in (1, -1)),
    ),
    "another column": (
        {"plus": {"depth": 56}, "minus": {"depth": 20}, "column": "agreement", "unit": "series", "expect": "higher"}
        | {"for": {"score": ["invariance", "equivariance"]}},
        *(pd.concat([agreements(0.2), agreements(gain).assign(score="equivariance")]) for gain in (0.2, -0.2)),
    ),
}


@pytest.mark.parametrize("kind", KINDS_OF_TESTS)
def test_partly_and_depends_for_each_kind(kind):
    test, both, one = KINDS_OF_TESTS[kind]
    assert state(test, both, parts=True) == "holds"
    assert state(test, one, parts=True) == "partly"
    assert state(test, one) == "contradicted"  # one claim of all parts
    found = verdicts(test, pd.concat([both, one.assign(over="dataset")]), parts=True)
    assert agreed(found) == "depends"
    assert said(found) == "**depends**: holds (`image`), partly (`dataset`)"


def test_every_border_and_over_is_decided_and_disagreement_said_first():
    test, up, down = MIDDLE | {"expect": "higher"}, pairs(0.1), pairs(-0.1)
    found = verdicts(
        test,
        pd.concat(
            [up, down.assign(over="dataset"), down.assign(transform="full rotation"), up.assign(transform="x")]
        ),
        transform="rotation",
    )
    assert {one.under: one.state for one in found} == {
        **{"image": "holds", "dataset": "contradicted", "image, full border": "contradicted"}
    }
    assert said(found).startswith("**depends**: holds (`image`), contradicted (`image, full border`, `dataset`)")
    assert agreed(found[:1]) == "holds" and said(found[:1]) == "**holds**"
    assert state(test, up.assign(transform="x"), transform="rotation") == "not run"


def test_epochs_and_what_the_evidence_compares():
    early = pairs(0.1).assign(epoch=5)
    test = MIDDLE | {"expect": "lower"}
    assert state(test, pd.concat([early, pairs(-0.1)])) == "holds"  # the last epoch decides
    settles = {"for": {"part": ["middle"]}, "plus": {"epoch": [5]}, "minus": {"epoch": "last"}, "expect": "equal"}
    both = pd.concat([pairs(0.1), pairs(0.1).assign(epoch=5)])
    assert state(settles, both, every_epoch=True) == "holds"
    assert state(settles, pd.concat([early, pairs(0.4)]), every_epoch=True) == "contradicted"
    widest = {"for": {"part": ["middle"]}, "plus": {"aug": "$last"}, "minus": {"aug": "$first"}, "expect": "higher"}
    assert state(widest, pairs(0.1), compare={"aug": ["a", "b"]}) == "holds"
    assert state(widest, pairs(0.1), compare={"aug": ["b", "a"]}) == "contradicted"


def test_fewer_seeds_are_said():
    claim = replace(claimed()["A2"], tests=(MIDDLE | {"expect": "higher"},), transform="rotation")
    evidence = Evidence("full", ("none",), "made up", {"aug": ["a", "b"]}, seeds=3)
    results = pairs(0.1)
    (verdict,) = judge(claim, evidence, results[~((results.seed == 2) & (results.aug == "b"))])
    assert fewer_seeds([verdict]) == " (2 of 3 seeds run)"


def test_intervals_are_scipys_and_images_widen_them():
    values = [0.1, 0.2, 0.4]
    low, high = over_units(values, 0)(ALPHA)
    expected = stats.ttest_1samp(values, 0).confidence_interval(1 - ALPHA)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    wider = over_units(values, 0.1)(ALPHA)
    error = np.sqrt(np.var(values, ddof=1) / 3 + 0.01)
    assert wider[1] - wider[0] == pytest.approx(2 * error * stats.t.ppf(0.975, 2))


def test_holm_over_the_primary_cases():
    """Against p-values: with the k-th smallest of m below alpha / (m - k + 1)."""
    draw = np.random.default_rng(0)
    for _ in range(20):
        samples = draw.normal(0.6, 1, size=(5, 12))
        tests = [stats.ttest_1samp(one, 0) for one in samples]
        p, places = [test.pvalue for test in tests], np.argsort([test.pvalue for test in tests])
        expected, open_ = [None] * 5, True
        for k, place in enumerate(places):
            open_ = open_ and p[place] < ALPHA / (5 - k)
            expected[place] = bool(samples[place].mean() > 0) if open_ else None
        cases = [
            Case(str(n), one.mean(), 12, over_units(one, 0), Range(0, np.inf)) for n, one in enumerate(samples)
        ]
        assert [decided(cases).answers[case] for case in cases] == expected


def test_a_bootstrap_that_cannot_tell_is_wide():
    x = np.arange(10.0)
    rho, ends = over_networks(x, x)
    assert rho == 1 and ends(ALPHA) == (1, 1)
    assert ends(1e-9)[0] == 1 or ends(1e-9)[0] == -1  # resamples of one network alone could have any rho
    assert over_networks(x[:5], x[:5])[1](ALPHA) == (-np.inf, np.inf)


def test_misspelt_tests_are_refused(monkeypatch):
    changed = {"groups": {"g": {"claims": {"Z1": {"statement": "", "source": "", "tests": [{"form": {}}]}}}}}
    monkeypatch.setattr("equivariance.study.verdicts.rules.document", lambda: changed)
    claimed.cache_clear()
    with pytest.raises(UserError, match="Z1: a test has no key form"):
        claimed()
    claimed.cache_clear()
    monkeypatch.undo()
    assert document()["smallest"]["score"] == 0.02


def test_made_by_hand_is_exact():
    def made(whole, cut, broken):
        values = {("gaussian-whole", "invariance"): whole, ("gaussian-whole", "equivariance"): 1}
        values |= {("gaussian-cut", "invariance"): broken, ("gaussian-cut", "equivariance"): cut}
        return table(
            {"model": model, "part": "early", "score": score, "value": value, "transform": "rotation"}
            for (model, score), value in values.items()
        )

    (evidence,) = evidence_of("controlled")
    for given, expected in (((1, 1, 0.9), "holds"), ((0.99, 1, 0.9), "contradicted"), ((1, 1, 1), "contradicted")):
        (verdict,) = judge(claimed()["M3"], evidence, made(*given))
        assert verdict.state == expected
    assert judge(claimed()["M2"], evidence, table([]))[0].state == "holds"
