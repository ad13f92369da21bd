"""MobileNets as TensorFlow trains them (Howard et al. 2017; Sandler et al. 2018), of any width."""

from torch import nn

from equivariance.errors import UserError


def mobilenet(version: int = 1, width: float = 1.0, bn_eps: float = 1e-5) -> nn.Module:
    """timm's MobileNet with TensorFlow's padding; 1000 classes, images of 3 channels.

    TensorFlow pads by as much as a stride needs, more at the right and bottom (`same`). timm's entry points such as
    `mobilenetv1_100` fix the width, so that its builders are called directly.

    Args:
        width: multiplies the channels of every layer.
        bn_eps: added to the variance by batch norms: 1e-3 in Keras; 1e-5 where norms were folded into convolutions
            and are identities with a bias.
    """
    from timm.models import efficientnet  # here, as importing timm takes seconds

    if version not in (1, 2):
        raise UserError(f"model.version={version}: choose 1 or 2")
    build = efficientnet._gen_mobilenet_v1 if version == 1 else efficientnet._gen_mobilenet_v2
    return build(f"mobilenetv{version}_100", width, pad_type="same", bn_eps=bn_eps)
