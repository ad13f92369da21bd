"""CIFAR ResNets (He et al. 2016)."""

from equivariance.errors import UserError


def resnet(depth: int, **_):
    """Not there yet: `model=resnet44` composes (Table 2), but only CNN-7 can be built in this version."""
    raise UserError(f"model resnet{depth}: the CIFAR networks are not in this version yet; use model=cnn7")
