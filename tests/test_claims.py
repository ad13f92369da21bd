"""The rules that decide the claims, on made-up rows for which the answer is known both ways."""

import runpy
from itertools import product

import numpy as np
import pandas as pd
from conftest import REPOSITORY

from equivariance.runs import rows

LAYERS = [*(f"block{i}" for i in range(1, 8)), "pool", "final"]
PARTS = ["early"] * 3 + ["middle"] * 2 + ["late"] * 2 + ["pool", "final"]
FALLING = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]


def made_up(invariance, equivariance, shift=0.0):
    """Rows of three tasks and seeds with these curves; the turned tasks are `shift` higher in the early layers."""
    rows = []
    noise = np.random.default_rng(0)
    for task in ("mnist6", "mnist6_rot_inv", "mnist6_rot_eq"):
        for seed in range(3):
            for measure, curve in (("invariance", invariance), ("equivariance", equivariance)):
                for index, value in enumerate(curve):
                    up = shift * (task != "mnist6" and PARTS[index] == "early")
                    rows.append(
                        {
                            **{"dataset": task, "model": "cnn7", "aug": "none", "width": 20, "trained": True},
                            **{"seed": seed, "index": index, "layer": LAYERS[index], "part": PARTS[index]},
                            **{"element": 90, "measure": measure, "chance": 0.0, "dead_channels": 0},
                            "value": value + up + 0.001 * noise.normal(),
                        }
                    )
    return pd.DataFrame(rows)


def symmetry(*args, **kwargs):
    verdicts = runpy.run_path(str(REPOSITORY / "experiments/symmetry/claims.py"))["verdicts"]
    return {verdict.number: verdict.holds for verdict in verdicts(made_up(*args, **kwargs))}


def test_symmetry_as_the_papers_report_it():
    half = [value / 2 for value in FALLING]
    assert symmetry([*half, 0.5, 0.5], [*FALLING, 0.6, 0.6]) == {"S1": True, "S2": True, "S3": True, "S4": True}


def test_symmetry_the_other_way_round():
    rising = FALLING[::-1]
    opposite = symmetry([*rising, 0.5, 0.5], [*rising, 0.6, 0.6], shift=0.1)
    assert opposite == {"S1": False, "S2": False, "S3": False, "S4": False}


CIFAR = {"stem": "early", "block1": "early", "block2": "middle", "block3": "late", "pool": "pool", "final": "final"}


def under_shifts(networks, group, seeds=(0, 1, 2), gap=0.0, period=True):
    """Rows under shifts of 1 to 16 pixels, scores that fall, and with `period` dip between the stride's multiples.

    Args:
        networks: for each value of the column `group`, what is added to the scores of some parts.
        gap: equivariance minus invariance.
    """
    found = []
    noise = np.random.default_rng(0)
    for network, seed, (index, (layer, part)) in product(networks, seeds, enumerate(CIFAR.items())):
        stride = {"early": 1, "middle": 2, "late": 4}.get(part, 1)
        network_noise = 0.002 * noise.normal()
        for shift, measure in product(range(1, 17), ("invariance", "equivariance")):
            value = 0.5 + networks[network].get(part, 0) + network_noise - 0.01 * shift
            value += 0.05 * (period and shift % stride == 0) + gap * (measure == "equivariance")
            found.append(
                {
                    **{"dataset": "cifar10", "model": "net", "aug": "none", "width": 1, "trained": True},
                    **{"seed": seed, "index": index, "layer": layer, "part": part, "element": shift},
                    **{"measure": measure, "value": value, "chance": 0.0, "dead_channels": 0, group: network},
                }
            )
    return pd.DataFrame(found)


def decided(experiment, results, **options):
    verdicts = runpy.run_path(str(REPOSITORY / f"experiments/{experiment}/claims.py"))["verdicts"](
        results, **options
    )
    assert all(verdict.evidence for verdict in verdicts)
    return {verdict.number: verdict.holds for verdict in verdicts}


RAISED = {"middle": 0.1, "late": 0.1, "final": 0.1}
REPORTED = {"none": {}, "crop": RAISED, "flip": {}, "cutmix": {"middle": -0.1}, "randaugment": RAISED}


def test_augmentation_as_the_papers_report_it():
    assert set(decided("augmentation", under_shifts(REPORTED, "aug")).values()) == {True}


def test_augmentation_the_other_way_round():
    opposite = {aug: {part: -up for part, up in change.items()} for aug, change in REPORTED.items()}
    opposite["flip"] = {"late": 0.05}
    results = under_shifts(opposite, "aug", gap=0.1, period=False)
    assert decided("augmentation", results) == dict.fromkeys(("A1", "A2", "A3", "A4", "A5"), False)


def test_one_seed_against_it_refutes_a_claim():
    results = under_shifts(REPORTED, "aug")
    results.loc[(results.aug == "crop") & (results.seed == 2) & (results.part == "late"), "value"] -= 0.2
    holds = decided("augmentation", results)
    assert not holds.pop("A2") and all(holds.values())


def test_capacity_both_ways():
    falling = {width: dict.fromkeys(("early", "middle", "late"), -0.05 * width) for width in (1, 2, 4, 8)}
    assert decided("capacity", under_shifts(falling, "width")) == {"C1": True, "C2": True}
    rising = {width: dict.fromkeys(CIFAR.values(), 0.05 * width) for width in (1, 2, 4, 8)}
    assert decided("capacity", under_shifts(rising, "width")) == {"C1": False, "C2": False}


def test_what_was_not_measured_is_not_run():
    none = pd.DataFrame(columns=rows.COLUMNS)
    assert decided("augmentation", none) == dict.fromkeys(("A1", "A2", "A3", "A4", "A5"))
    assert decided("capacity", none) == dict.fromkeys(("C1", "C2"))
    some = under_shifts({aug: REPORTED[aug] for aug in ("none", "cutmix")}, "aug")
    assert decided("augmentation", some) == {"A1": None, "A2": None, "A3": None, "A4": True, "A5": None}
    widths = under_shifts({1: {}, 2: {}, 4: {}}, "width")
    assert decided("capacity", widths) == {"C1": None, "C2": None}
    assert None not in decided("capacity_short", widths).values()  # whose grid has no width 8


def test_reduced_networks_decide_no_claim_of_the_papers():
    assert all("(reduced)" in number for number in decided("augmentation_short", under_shifts(REPORTED, "aug")))


def test_figures_of_what_was_and_was_not_measured(tmp_path, capsys):
    main = runpy.run_path(str(REPOSITORY / "experiments/augmentation/figure.py"))["main"]
    main(tmp_path)
    assert "no rows yet" in capsys.readouterr().out and not list(tmp_path.iterdir())
    results = under_shifts(REPORTED, "aug").reindex(columns=rows.COLUMNS)
    rows.write(tmp_path / "results.csv", pd.concat([results, results.assign(trained=False)]))
    main(tmp_path)
    assert {file.name for file in tmp_path.glob("*.png")} == {"figure.png", "shifts.png"}


SIX = ("efficientnet_b6", "efficientnet_b7", "resnext101_32x8d", "inception_v3", "vit_b16", "mixer_b16")
FIVE = ("early", "middle", "late", "pool", "final")
ACCURACY = dict(zip(SIX, (0.841, 0.849, 0.793, 0.773, 0.845, 0.766), strict=True))


def architectures(rotation, translation, gap):
    """Rows of six networks with this invariance by part, and equivariance `gap` above it under rotation."""
    rows = [
        {
            **{"dataset": "imagenet", "model": model, "trained": True, "seed": 0, "transform": transform},
            **{"element": 1, "index": index, "part": part, "measure": measure, "chance": 0.0},
            **{"accuracy": ACCURACY[model]},
            "value": curve[model][index] + (gap[model][index] if above else 0),
        }
        for transform, curve in (("rotation", rotation), ("translation", translation))
        for model in SIX
        for index, part in enumerate(FIVE)
        for measure, above in (("invariance", False), ("equivariance", transform == "rotation"))
    ]
    return pd.DataFrame(rows)


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


def test_architectures_as_the_papers_report_them():
    found = decided("architectures", architectures(ROTATION, TRANSLATION, GAP))
    assert found == dict.fromkeys(("I1", "I2", "I3", "I4", "I5", "I6", "I7"), True)


def test_architectures_the_other_way_round():
    def reverse(curves):
        return dict(zip(curves, [tuple(1 - x for x in curve) for curve in curves.values()], strict=True))

    gap = {model: (0.0, 0.1, 0.2, 0.0, 0.0) for model in SIX}
    rows = architectures(reverse(ROTATION), reverse(TRANSLATION), gap)
    rows.loc[(rows["transform"] == "translation") & (rows.measure == "equivariance"), "value"] += 0.2
    rows.loc[rows.model.isin(["vit_b16", "mixer_b16"]) & (rows["transform"] == "translation"), "value"] -= 0.2
    rows.loc[rows.model.eq("mixer_b16") & rows.part.isin(FIVE[:2]), "value"] = 1.0
    assert decided("architectures", rows) == dict.fromkeys(("I1", "I2", "I3", "I4", "I5", "I6", "I7"), False)


def test_accuracy_both_ways():
    rank = {model: place / 10 for place, model in enumerate(sorted(SIX, key=ACCURACY.get))}
    almost = rank | {"inception_v3": rank["resnext101_32x8d"], "resnext101_32x8d": rank["inception_v3"]}
    almost |= {"efficientnet_b6": rank["vit_b16"], "vit_b16": rank["efficientnet_b7"]}
    almost |= {"efficientnet_b7": rank["efficientnet_b6"]}  # rho 0.77
    unrelated = dict(zip(sorted(SIX, key=ACCURACY.get), (0.3, 0.0, 0.5, 0.2, 0.1, 0.4), strict=True))  # rho 0.09

    def rows(before, end):
        curves = {model: (before[model],) * 3 + (end[model],) * 2 for model in SIX}
        return curves

    nothing = {model: (0,) * 5 for model in SIX}
    as_reported = architectures(rows(unrelated, rank), rows(almost, rank), nothing)
    assert decided("accuracy", as_reported) == {"R1": True, "R2": True}
    opposite = architectures(rows(rank, unrelated), rows(rank, unrelated), nothing)
    assert decided("accuracy", opposite) == {"R1": False, "R2": False}


def test_claims_about_pretrained_networks_are_not_run_without_them():
    untrained = architectures(ROTATION, TRANSLATION, GAP).assign(trained=False)
    for results in (
        untrained,
        pd.DataFrame(columns=rows.COLUMNS),
        untrained.assign(trained=True)[untrained.model != "vit_b16"],
    ):
        assert set(decided("architectures", results).values()) == {None}
        assert decided("accuracy", results) == {"R1": None, "R2": None}
