"""The figure and the tables of experiments/consistency for networks trained on ImageNet."""

from functools import partial

from experiments.consistency import figure as of_consistency

WHAT = "Networks trained on ImageNet by others"
figures = partial(of_consistency.figures, what=WHAT)
page = partial(of_consistency.page, what=WHAT)
