"""The figures of experiments/accuracy for the two published CIFAR networks."""

from experiments.accuracy.figure import figures

__all__ = ["figures"]
