"""The figures of experiments/accuracy for networks that others trained on ImageNet."""

from experiments.accuracy.figure import figures

__all__ = ["figures"]
