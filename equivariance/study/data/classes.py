"""Names of the classes that published classifiers know, in the order of their logits."""

from functools import cache

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@cache
def imagenet_classes() -> list[str]:
    """ImageNet's 1000 synsets, such as n01440764."""
    from timm.data import ImageNetInfo  # here, as importing timm takes a second

    return ImageNetInfo("imagenet-1k").label_names()
