"""The rules that decide the claims, on made-up rows for which the answer is known both ways."""

import runpy

import numpy as np
import pandas as pd
from conftest import REPOSITORY

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
