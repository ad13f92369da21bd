"""The figures of experiments/symmetry for the reduced training."""

from experiments.symmetry.figure import figures as figures
