"""The figures of experiments/augmentation for the reduced training."""

from functools import partial

from experiments.augmentation.figure import figures as of_augmentation

figures = partial(of_augmentation, network="Reduced: ResNet-44, 20 epochs")
