"""Thesis Fig. 10 / paper Fig. 6b: the figures of experiments/augmentation for networks of several widths."""

from functools import partial

from experiments.augmentation.figure import figures as of_augmentation

figures = partial(
    of_augmentation,
    network="WRN-40, 200 epochs",
    minus={"width": 1},
    names={f"wrn40-{width}": f"width {width}" for width in (1, 2, 4, 8)},
)
