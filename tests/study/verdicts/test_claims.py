"""The rules that decide the claims, on made-up rows for which the answer is known: both ways, and partly."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import yaml

from equivariance import rows
from equivariance.names import PARTS, SCORES
from equivariance.study.verdicts.rules import (
    Outcome,
    Verdict,
    asks,
    claimed,
    combined,
    decided,
    described,
    evidence_of,
    in_words,
    rules_of,
)
from tests.conftest import REPOSITORY

BODY = ("early", "middle", "late")
SIX = ("efficientnet_b6", "efficientnet_b7", "resnext101_32x8d", "inception_v3", "vit_b16", "mixer_b16")
ACCURACY = dict(zip(SIX, (0.841, 0.849, 0.793, 0.773, 0.845, 0.766), strict=True))
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


def decide(number, results, kind="full", entry=0, **changes):
    """The outcomes of a claim's rule by reading, from rows taken for the evidence of a kind."""
    group = claimed()[number].group
    rule = rules_of(group)[number]
    asked = [one for one in evidence_of(group) if one.kind == kind and asks(rule, one)]
    evidence = replace(asked[entry], **changes)
    verdicts = decided(rule, evidence, results)
    assert all(one.outcome.text for one in verdicts)
    return {one.over: one.outcome for one in verdicts}


def state(number, results, **options):
    (outcome,) = decide(number, results, **options).values()
    return outcome.state


def cases(number, results, **options):
    """The cases that do not hold."""
    (outcome,) = decide(number, results, **options).values()
    return {case for case, holds in outcome.cases.items() if not holds}


def test_every_claim_has_one_rule_and_evidence():
    for number, claim in claimed().items():
        rule = rules_of(claim.group)[number]
        assert rule.number == number and rule.decided_by
        assert any(asks(rule, evidence) for evidence in evidence_of(claim.group))
    for group in described():
        assert list(rules_of(group)) == list(described()[group]["claims"])


def test_the_kinds_of_evidence_that_are_promised():
    kinds = {
        number: {one.kind for one in evidence_of(claim.group) if asks(rules_of(claim.group)[number], one)}
        for number, claim in claimed().items()
    }
    assert all("full" in kinds[number] for number, claim in claimed().items() if not claim.later)
    for number in ("A1", "A2", "A3", "A4", "A5", "C1", "C2"):
        assert "reduced" in kinds[number]
    for number in ("A1", "A4", "A5", "C1", "C2", "M1", "R1", "R2"):
        assert "public" in kinds[number]
    assert "public" not in kinds["A2"] | kinds["A3"] | kinds["S1"]


# -- M1 to M3


def by_activation(pearson, cosine, networks=("resnet44",)):
    """Blocks whose activation rises, with scores that follow it by these slopes, and noise that does not."""
    noise = np.array([1, -1, -1, 1] * 5)
    return table(
        {"model": model, "layer": f"block{index}", "index": index, "part": "early", "transform": "rotation"}
        | {"element": 90, "score": score, "similarity": similarity, "activation": index, "epoch": None}
        | {"epochs": None, "value": 0.4 + 0.01 * slope * index + 0.02 * noise[index]}
        for model, score, index in product(networks, SCORES, range(20))
        for similarity, slope in (("pearson", pearson), ("cosine", cosine[score]))
    )


def test_m1_both_ways_and_partly():
    follows, not_at_all = dict.fromkeys(SCORES, 1), dict.fromkeys(SCORES, 0)
    public = {"kind": "public", "networks": {}}
    assert state("M1", by_activation(0, follows), **public) == "holds"
    assert state("M1", by_activation(1, follows), **public) == "fails"
    assert state("M1", by_activation(0, not_at_all), **public) == "fails"
    assert cases("M1", by_activation(0, {"invariance": 1, "equivariance": 0}), **public) == {("equivariance",)}
    two = pd.concat([by_activation(0, follows), by_activation(1, follows, ["other"])])
    assert state("M1", two, **public) == "fails"  # in every network
    only = by_activation(0, follows)
    assert state("M1", only[only.similarity == "pearson"], **public) == "not run"


def made_by_hand(invariance, equivariance, cut_invariance=0.9):
    return table(
        {"model": model, "layer": "block1", "index": 0, "part": "early", "transform": "rotation", "element": 90}
        | {"score": score, "value": value}
        for model, score, value in (
            ("gaussian-whole", "invariance", invariance),
            ("gaussian-whole", "equivariance", 1),
            ("gaussian-cut", "invariance", cut_invariance),
            ("gaussian-cut", "equivariance", equivariance),
        )
    )


def test_m2_and_m3():
    assert state("M2", table([])) == "holds"
    assert state("M3", made_by_hand(1, 1)) == "holds"
    assert cases("M3", made_by_hand(0.99, 1)) == {("isotropic filters",)}
    assert cases("M3", made_by_hand(1, 1, cut_invariance=1)) == {("cut corners",)}
    assert state("M3", made_by_hand(0.99, 0.99)) == "fails"


# -- S1 to S4

FALLING = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
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


def test_symmetry_both_ways_and_partly():
    half, rising = [value / 2 for value in FALLING], FALLING[::-1]
    reported = symmetry([*half, 0.5, 0.5], [*FALLING, 0.6, 0.6])
    opposite = symmetry([*rising, 0.5, 0.5], [*rising, 0.6, 0.6], shift=0.1)
    between = symmetry([*rising, 0.95, 0.5], [*FALLING, 0.2, 0.6])
    for number in ("S1", "S2", "S3", "S4"):
        assert state(number, reported) == "holds", number
    for number in ("S1", "S2", "S4"):
        assert state(number, opposite) == "fails", number
    assert cases("S3", opposite) == {(score, "early") for score in SCORES}
    assert cases("S1", between) == {("invariance", task) for task in TASKS}
    assert cases("S2", between) == {(task, "equivariance") for task in TASKS[1:]}
    middle = symmetry([0.3] * 3 + [0.2] * 4 + [0.5, 0.5], [0.4] * 3 + [0.6] * 4 + [0.6, 0.6])
    assert cases("S4", middle) == {("early", task) for task in TASKS}
    one_seed = reported.copy()
    one_seed.loc[(one_seed.seed == 1) & (one_seed.layer == "pool") & (one_seed.dataset == TASKS[1]), "value"] = 0
    assert cases("S2", one_seed) == {(TASKS[1], score) for score in SCORES}


# -- A1 to A5, C1, C2

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
AUGMENTATION = ("A1", "A2", "A3", "A4", "A5")


@pytest.mark.parametrize("kind", ["full", "reduced"])
def test_augmentation_both_ways_by_the_same_rules(kind):
    opposite = {aug: {part: -up for part, up in change.items()} for aug, change in REPORTED.items()}
    opposite["flip"] = dict.fromkeys(PARTS, 0.05)
    against = shifts(opposite, "aug", gap=0.1, period=False)
    for number in AUGMENTATION:
        assert state(number, shifts(REPORTED, "aug"), kind=kind) == "holds", number
        assert state(number, against, kind=kind) == "fails", number


def test_augmentation_partly():
    results = shifts(REPORTED, "aug")
    crop = (results.aug == "crop") & (results.seed == 2) & (results.part == "late")
    results.loc[crop, "value"] -= 0.2
    assert cases("A2", results) == {("crop", "late", score) for score in SCORES}
    low = results.copy()
    low.loc[(low.aug == "flip") & (low.part == "late") & (low.element % 4 == 0), "value"] -= 0.2
    assert cases("A1", low) == {("late", "flip")}
    low.loc[(low.aug == "flip") & (low.part == "pool"), "value"] += 0.1
    low.loc[(low.aug == "cutmix") & (low.part == "middle") & (low.score == "equivariance"), "value"] += 0.3
    assert ("pool", "invariance") in cases("A3", low) and ("early", "invariance") not in cases("A3", low)
    assert cases("A4", low) == {("equivariance",)}
    assert cases("A5", low) == {("middle", "cutmix")}


def test_augmentation_of_public_networks():
    """Crops and flips are the baseline, and what was not trained there is not asked."""
    networks = {"crop_flip": {}, "cutout": {}, "mixup": {}, "cutmix": {"middle": -0.1}}
    results = shifts(networks, "aug", seeds=(0,))
    for number in ("A1", "A4", "A5"):
        assert state(number, results, kind="public") == "holds"
    higher = shifts(networks | {"cutmix": {"middle": 0.1}}, "aug", seeds=(0,))
    assert state("A4", higher, kind="public") == "fails"
    (outcome,) = decide("A4", results, kind="public").values()
    assert "cutmix minus crop_flip" in outcome.text
    assert state("A1", results[results.aug != "cutout"], kind="public") == "not run"


def test_public_networks_are_taken_by_name(tmp_path):
    """Their rows leave the augmentation open; the list of evidence says it."""
    names = ["lilei_resnet32_baseline", "lilei_resnet32_cutmix", "somebody_elses"]
    results = pd.concat(
        shifts({"": {}}, "aug", seeds=(0,)).assign(model=name, aug=None, epoch=None, epochs=None) for name in names
    )
    (tmp_path / "public_cifar").mkdir()
    rows.write(tmp_path / "public_cifar/results.csv", results)
    (evidence,) = (one for one in evidence_of("augmentation") if one.kind == "public")
    found = evidence.rows(tmp_path)
    assert dict(zip(found.model, found.aug, strict=True)) == dict(
        zip(names[:2], ("crop_flip", "cutmix"), strict=True)
    )


def test_public_evidence_names_networks_of_the_table():
    names = yaml.safe_load((REPOSITORY / "equivariance/study/models/public.yaml").read_text())["networks"]
    for group in described():
        for evidence in evidence_of(group):
            assert evidence.kind == "public" or not evidence.networks
            assert {evidence.networks[name].get("model", name) for name in evidence.networks} <= set(names)


def test_a_network_measured_by_two_experiments_counts_once(tmp_path):
    (evidence,) = (one for one in evidence_of("similarity") if one.kind == "public")
    for experiment, model in (("similarity", "resnet44"), ("public_similarity", "akamaster_resnet44")):
        results = by_activation(0, dict.fromkeys(SCORES, 1), [model])
        rows.write(tmp_path / experiment / "results.csv", results)
    assert len(evidence.rows(tmp_path)) == len(results)


@pytest.mark.parametrize(("kind", "widths"), [("full", (1, 2, 4, 8)), ("reduced", (1, 2, 4)), ("public", (1, 2))])
def test_capacity_both_ways_and_partly(kind, widths):
    falling = {width: dict.fromkeys(BODY, -0.05 * width) for width in widths}
    assert state("C1", shifts(falling, "width"), kind=kind) == "holds"
    assert state("C2", shifts(falling, "width"), kind=kind) == "holds"
    rising = {width: dict.fromkeys(PARTS, 0.06 * width) for width in widths}
    assert state("C1", shifts(rising, "width"), kind=kind) == "fails"
    assert state("C2", shifts(rising, "width"), kind=kind) == "fails"
    late = {width: {"early": -0.05 * width, "middle": -0.05 * width, "late": 0.05 * width} for width in widths}
    results = shifts(late, "width")
    assert cases("C1", results, kind=kind) == {(score, "late") for score in SCORES}
    results.loc[(results.part == "final") & (results.score == "invariance"), "value"] += 0.1 * results.width
    assert cases("C2", results, kind=kind) == {("invariance",)}


def test_what_was_not_measured_is_not_run():
    none = table([])
    for number, claim in claimed().items():
        if number not in ("M2",):
            for evidence in evidence_of(claim.group):
                rule = rules_of(claim.group)[number]
                if asks(rule, evidence):
                    (verdict,) = decided(rule, evidence, none)
                    assert verdict.outcome.state == "not run" and str(verdict) == "not run"
    some = shifts({aug: REPORTED[aug] for aug in ("none", "cutmix")}, "aug")
    assert {number: state(number, some) for number in AUGMENTATION} == dict.fromkeys(AUGMENTATION, "not run") | {
        "A4": "holds"
    }
    assert state("C1", shifts({1: {}, 2: {}, 4: {}}, "width")) == "not run"
    rotated = shifts(REPORTED, "aug").assign(transform="rotation")
    assert state("A4", rotated) == "not run"


def test_a_seed_that_lacks_compared_networks_is_left_out():
    all_raised = {aug: {} if aug == "none" else RAISED for aug in REPORTED}
    for number, networks in {**dict.fromkeys(AUGMENTATION, REPORTED), "L3": all_raised}.items():
        results = shifts(networks, "aug")
        two_seeds = results[results.seed != 2]
        high = results[(results.seed == 2) & (results.aug == "none")].assign(value=0.9)
        assert state(number, two_seeds) == "holds", number
        assert decide(number, pd.concat([two_seeds, high])) == decide(number, two_seeds), number
        apart = results[(results.seed == 0) == (results.aug == "none")]
        assert state(number, apart) == "not run", number


def test_only_the_similarity_of_the_papers_decides():
    cosine = shifts(REPORTED | {"cutmix": {"middle": 0.2}}, "aug", similarity="cosine")
    assert state("A4", pd.concat([shifts(REPORTED, "aug"), cosine])) == "holds"


def test_the_last_epoch_decides():
    early = shifts(REPORTED | {"cutmix": {"middle": 0.2}}, "aug").assign(epoch=5)
    assert state("A4", pd.concat([early, shifts(REPORTED, "aug")])) == "holds"
    assert state("A4", early) == "not run"


def test_both_readings_are_decided_and_a_claim_may_hold_under_one_only():
    pooled = shifts(REPORTED | {"cutmix": {"middle": 0.2}}, "aug", over="dataset")
    found = decide("A4", pd.concat([shifts(REPORTED, "aug"), pooled]))
    assert {over: one.state for over, one in found.items()} == {"image": "holds", "dataset": "fails"}
    (full, *_) = evidence_of("augmentation")
    verdicts = [Verdict("A4", full, over, one, seeds=3) for over, one in found.items()]
    assert combined(verdicts) == "one reading"
    assert in_words(verdicts) == "**reproduced** (`image`), **not reproduced** (`dataset`)"
    ignored = shifts(REPORTED, "aug", over="image_max")
    assert state("A4", ignored) == "not run"


def test_only_full_evidence_for_a_claim_of_the_papers_is_a_reproduction():
    words = set()
    for number, claim in claimed().items():
        for evidence in evidence_of(claim.group):
            for answers in ((True,), (True, False), (False,)):
                outcome = Outcome({(str(place),): answer for place, answer in enumerate(answers)}, "numbers")
                text = str(Verdict(number, evidence, "image", outcome, evidence.seeds))
                assert ("reproduced" in text) == (evidence.kind == "full" and not claim.later), text
                words.add(text)
    assert {"holds", "holds partly", "does not hold", "reproduced", "partly reproduced"} <= words


def test_a_partial_verdict_says_for_which():
    answers = {("invariance", "early"): True, ("invariance", "late"): np.False_, ("equivariance", "early"): True}
    text = str(Outcome(answers | {("equivariance", "late"): True, ("size",): None}, "0.5"))
    assert text == ("holds for invariance (early), equivariance; not for invariance (late); not run for size. 0.5")
    assert Outcome(answers, "").state == "partly" and Outcome({("a",): None}, "").state == "not run"


# -- I1 to I7, R1, R2


def architectures(rotation, translation, gap, accuracy=ACCURACY):
    """Six networks with this invariance by part, and equivariance `gap` above it under rotation."""
    return table(
        {"dataset": "imagenet", "model": model, "transform": transform, "element": 1, "index": index}
        | {"layer": part, "part": part, "score": score, "accuracy": accuracy[model]}
        | {"epoch": None, "epochs": None, "value": curve[model][index] + (gap[model][index] if above else 0)}
        for transform, curve in (("rotation", rotation), ("translation", translation))
        for model in SIX
        for index, part in enumerate(PARTS)
        for score, above in (("invariance", False), ("equivariance", transform == "rotation"))
    )


# By part: in the order of accuracy B7, ViT, B6, ResNeXt, Inception, Mixer under translation, as the papers draw it.
TRANSLATION = {
    "efficientnet_b6": (0.94, 0.94, 0.94, 0.94, 0.94),
    "efficientnet_b7": (0.95, 0.95, 0.95, 0.95, 0.95),
    "resnext101_32x8d": (0.70, 0.70, 0.70, 0.80, 0.85),
    "inception_v3": (0.60, 0.60, 0.60, 0.70, 0.84),
    "vit_b16": (0.50, 0.50, 0.62, 0.80, 0.90),
    "mixer_b16": (0.40, 0.40, 0.65, 0.70, 0.84),
}
ROTATION = {
    "efficientnet_b6": (0.31, 0.31, 0.31, 0.70, 0.80),
    "efficientnet_b7": (0.32, 0.32, 0.32, 0.71, 0.81),
    "resnext101_32x8d": (0.50, 0.50, 0.50, 0.60, 0.60),
    "inception_v3": (0.60, 0.60, 0.60, 0.50, 0.50),
    "vit_b16": (0.20, 0.20, 0.20, 0.80, 0.90),
    "mixer_b16": (0.10, 0.10, 0.10, 0.40, 0.40),
}
GAP = {model: (0.05, 0.04, 0.01, 0.0, 0.0) for model in SIX} | {
    "resnext101_32x8d": (0.2, 0.1, 0.01, 0.0, 0.0),
    "inception_v3": (0.3, 0.1, 0.01, 0.0, 0.0),
}
I = ("I1", "I2", "I3", "I4", "I5", "I6", "I7")  # noqa: E741


def test_architectures_both_ways_and_partly():
    reported = architectures(ROTATION, TRANSLATION, GAP)
    for number in I:
        assert state(number, reported) == "holds", number

    def reverse(curves):
        return dict(zip(curves, [tuple(1 - x for x in curve) for curve in curves.values()], strict=True))

    gap = {model: (0.0, 0.1, 0.2, 0.0, 0.0) for model in SIX}
    against = architectures(reverse(ROTATION), reverse(TRANSLATION), gap)
    shifted = against["transform"] == "translation"
    against.loc[shifted & (against.score == "equivariance"), "value"] += 0.2
    against.loc[shifted & against.model.isin(["vit_b16", "mixer_b16"]) & (against.part == "final"), "value"] -= 0.6
    for number in I:
        assert state(number, against) == "fails", number

    partly = reported.copy()
    shifted = partly["transform"] == "translation"

    def change(where, by):
        partly.loc[where, "value"] += by

    change(shifted & (partly.model == "mixer_b16") & (partly.part == "early"), 0.5)
    change(shifted & (partly.model == "mixer_b16") & (partly.part == "final"), -0.2)
    change(shifted & (partly.model == "vit_b16") & (partly.part == "late") & (partly.score == "equivariance"), 0.1)
    change(~shifted & (partly.model == "vit_b16") & (partly.part == "late"), 0.2)
    change(~shifted & (partly.model == "inception_v3") & (partly.part == "final"), 0.45)
    change(~shifted & (partly.part == "late") & (partly.score == "equivariance"), 0.1)
    assert cases("I1", partly) == {(score, "early") for score in SCORES}
    assert cases("I3", partly) == {("mixer_b16",)}
    assert cases("I4", partly) == {("vit_b16", "late")}
    assert state("I2", partly) == "holds"
    change(shifted & (partly.model == "vit_b16") & (partly.part == "final"), 0.09)
    assert cases("I2", partly) == {(score, "final") for score in SCORES}
    assert ("ViT highest after", "invariance") in cases("I5", partly) and state("I5", partly) == "partly"
    assert cases("I6", partly) == {("almost nothing late",)}
    assert cases("I7", partly) == {("Inception-v3 falls",)}


RANK = {model: place / 10 for place, model in enumerate(sorted(SIX, key=ACCURACY.get))}
ALMOST = (
    RANK
    | {"inception_v3": RANK["resnext101_32x8d"], "resnext101_32x8d": RANK["inception_v3"]}
    | {
        "efficientnet_b6": RANK["vit_b16"],
        "vit_b16": RANK["efficientnet_b7"],
        "efficientnet_b7": RANK["efficientnet_b6"],
    }
)  # rho 0.77
UNRELATED = dict(zip(sorted(SIX, key=ACCURACY.get), (0.3, 0.0, 0.5, 0.2, 0.1, 0.4), strict=True))  # rho 0.09


@pytest.mark.parametrize("kind", ["full", "public"])
def test_accuracy_both_ways_and_partly(kind):
    def curves(before, end):
        return {model: (before[model],) * 3 + (end[model],) * 2 for model in SIX}

    nothing = {model: (0,) * 5 for model in SIX}
    reported = architectures(curves(UNRELATED, RANK), curves(ALMOST, RANK), nothing)
    opposite = architectures(curves(RANK, UNRELATED), curves(RANK, UNRELATED), nothing)
    half = architectures(curves(RANK, RANK), curves(RANK, RANK), nothing)
    half.loc[half.part.isin(("early", "middle")), "value"] = half.model.map(UNRELATED)
    for number in ("R1", "R2"):
        assert state(number, reported, kind=kind) == "holds"
        assert state(number, opposite, kind=kind) == "fails"
    assert cases("R2", half, kind=kind) == {(score, part) for score in SCORES for part in ("late", "final")}
    few = reported[reported.model != "vit_b16"]
    assert state("R1", few, kind=kind) == "not run"
    assert state("R1", reported.assign(accuracy=None), kind=kind) == "not run"


# -- L1 to L7


def test_l1_both_ways_and_partly():
    rising = FALLING[::-1]
    assert state("L1", symmetry([*rising, 0.5, 0.5], [*FALLING, 0.6, 0.6])) == "holds"
    assert state("L1", symmetry([*FALLING, 0.5, 0.5], [*rising, 0.6, 0.6])) == "fails"
    assert cases("L1", symmetry([*FALLING, 0.5, 0.5], [*FALLING, 0.6, 0.6])) == {("invariance rises",)}


def epochs(late_change):
    """Three epochs of a network; the scores of its late part change by this much between the fifth and the last."""
    one = shifts({"none": {}}, "aug", seeds=(0,))
    last = one.assign(epoch=20, epochs=20)
    fifth = last.assign(epoch=5, value=last.value - late_change * (last.part == "late"))
    return pd.concat([last.assign(epoch=0, value=0.1), fifth, last])


def test_l2_both_ways_and_partly():
    assert state("L2", epochs(0.0), kind="full") == "holds"
    assert state("L2", epochs(0.0), kind="reduced") == "holds"
    assert cases("L2", epochs(0.2), kind="reduced") == {(score, "late") for score in SCORES}
    restless = epochs(0.0)
    restless.loc[restless.epoch == 5, "value"] -= 0.2
    assert state("L2", restless, kind="reduced") == "fails"
    first = epochs(0.0)
    assert state("L2", first[first.epoch != 5], kind="reduced") == "not run"


@pytest.mark.parametrize("kind", ["full", "reduced"])
def test_l3_both_ways_and_partly(kind):
    up = {aug: {"late": 0.1} for aug in ("crop", "flip", "cutmix", "randaugment")}
    assert state("L3", shifts(up | {"none": {}}, "aug"), kind=kind) == "holds"
    assert state("L3", shifts({"none": {"late": 0.2}} | up, "aug"), kind=kind) == "fails"
    assert cases("L3", shifts(up | {"none": {}, "flip": {"late": -0.1}}, "aug"), kind=kind) == {("flip",)}


def test_l4_and_l5_of_architectures_both_ways_and_partly():
    def scores(cnn, transformer, mixer):
        value = dict.fromkeys(SIX, cnn) | {"vit_b16": transformer, "mixer_b16": mixer}
        return {model: (value[model],) * 5 for model in SIX}

    nothing = {model: (0,) * 5 for model in SIX}
    between, outside = scores(0.2, 0.8, 0.5), scores(0.8, 0.2, 0.9)
    for number in ("L4", "L5"):
        assert state(number, architectures(between, between, nothing), kind="public") == "holds"
        assert state(number, architectures(outside, outside, nothing), kind="public") == "fails"
        assert state(number, architectures(between, outside, nothing), kind="public") == "partly"


def test_l5_of_accuracies():
    curves = {model: (RANK[model],) * 5 for model in SIX}
    nothing = {model: (0,) * 5 for model in SIX}
    grows = architectures(curves, curves, nothing)
    assert state("L5", grows, kind="public", entry=1) == "partly"  # nothing is said of transformers and of size
    assert ("grows with accuracy", "rotation") not in cases("L5", grows, kind="public", entry=1)
    against = architectures(*[{model: (1 - RANK[model],) * 5 for model in SIX}] * 2, nothing)
    assert state("L5", against, kind="public", entry=1) == "fails"
    assert state("L5", grows.assign(accuracy=0.7), kind="public", entry=1) == "not run"


def test_l6_both_ways_and_partly():
    def depths(first, second):
        slopes = {"first": first, "second": second}
        found = [
            shifts({depth: {}}, "depth", seeds=(0,), accuracy=0.9).assign(
                series=series, depth=depth, model=f"{series}{depth}", agreement=0.5 + slope * depth
            )
            for series, slope in slopes.items()
            for depth in (20, 32, 44, 56)
        ]
        return pd.concat(found)

    assert state("L6", depths(0.005, 0.005), kind="public") == "holds"
    assert state("L6", depths(-0.005, -0.005), kind="public") == "fails"
    assert cases("L6", depths(0.005, -0.005), kind="public") == {("second",)}
    assert state("L6", depths(0.005, 0.005).assign(agreement=None), kind="public") == "not run"


def linear_scores(early, late, **more):
    """The third score of two networks by part, under turns."""
    value = {"early": early, "middle": (early + late) / 2, "late": late}
    return table(
        {"model": model, "layer": part, "part": part, "index": index, "element": 90, "transform": "rotation"}
        | {"score": "linear", "value": value[part] + 0.01 * (model == "other")}
        | more
        for model in ("net", "other")
        for index, part in enumerate(BODY)
    )


@pytest.mark.parametrize("kind", ["full", "reduced", "public"])
def test_l7_both_ways_and_partly(kind):
    assert state("L7", linear_scores(0.9, 0.4), kind=kind) == "holds"
    assert state("L7", linear_scores(0.4, 0.9), kind=kind) == "fails"
    assert cases("L7", linear_scores(0.6, 0.4), kind=kind) == {("good early", "rotation")}
    assert cases("L7", linear_scores(0.9, 0.95), kind=kind) == {("worse late", "rotation")}
    shifted = linear_scores(0.95, 0.99, transform="translation")
    both = pd.concat([linear_scores(0.9, 0.4), shifted])
    assert cases("L7", both, kind=kind) == {("worse late", "translation")}
    one = pd.concat([linear_scores(0.9, 0.4), linear_scores(0.9, 0.95, seed=1)])
    assert cases("L7", one, kind=kind) == {("worse late", "rotation")}  # in every network
    plain = linear_scores(0.9, 0.4).assign(measure="equivariance")
    assert state("L7", plain, kind=kind) == "not run"
