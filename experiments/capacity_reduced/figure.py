"""The figures of capacity for the reduced training, and of capacity_matched for its quarter turns."""

from pathlib import Path

import pandas as pd

from equivariance.figures import style
from equivariance.study.figures import measured
from experiments.augmentation.figure import figures as of_augmentation
from experiments.capacity_matched.figure import against_accuracy, described

NAMES = {f"wrn16-{width}": f"width {width}" for width in (1, 2, 4)}


def figures(folder: Path) -> dict[str, style.Figure]:
    drawn = of_augmentation(folder, "Reduced: WRN-16, 15 epochs", {"width": 1}, NAMES)
    return drawn | {"matched": against_accuracy(turned(folder), "quarter turns")}


def page(folder: Path) -> str:
    return described(turned(folder), "matched")


def turned(folder: Path) -> pd.DataFrame:
    """The rows under quarter turns, which are measured after every kept epoch."""
    table = measured(folder)
    return table[table["transform"] == "rotation"]
