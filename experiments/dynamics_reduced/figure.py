"""The figure and the table of experiments/dynamics for the reduced ResNet-44."""

from functools import partial

from experiments.dynamics import figure as of_dynamics

TITLE = "Reduced: ResNet-44, 20 epochs, quarter turns"
figures = partial(of_dynamics.figures, title=TITLE)
page = partial(of_dynamics.page, title=TITLE)
