"""The figure of experiments/similarity for three networks that others trained."""

from experiments.similarity.figure import figures

__all__ = ["figures"]
