"""The figure of experiments/zoo for all weights of the six architectures, coloured by architecture."""

from functools import partial

from experiments.zoo.figure import figures as of_zoo

figures = partial(of_zoo, colour_by="architecture")
