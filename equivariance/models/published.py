"""Names in the published weights of the CIFAR ResNets: github.com/akamaster/pytorch_resnet_cifar10.

Their networks were trained on images normalised with ImageNet's mean and deviation.
"""

import re


def our_name(name: str, blocks: int) -> str:
    """Their name of a parameter in ours: `layer2.0.conv1.weight` is `blocks.7.conv1.weight` of ResNet-44.

    Args:
        name: theirs; what is not in their networks stays as it is.
        blocks: blocks of a stage.
    """
    for theirs, ours in (("conv1.", "stem.0."), ("bn1.", "stem.1."), ("linear.", "final.")):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)

    def block(match: re.Match) -> str:
        return f"blocks.{(int(match[1]) - 1) * blocks + int(match[2])}."

    return re.sub(r"^layer([123])\.(\d+)\.", block, name)
