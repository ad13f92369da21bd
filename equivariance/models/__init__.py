"""The networks of the papers, networks of timm and torchvision, published networks, and anybody's own."""

from equivariance.models.build import (
    brings_weights,
    build,
    check_accuracy,
    input_shape,
    predicts_dataset_classes,
    prepare,
    untrained,
)
from equivariance.models.cnn7 import CNN7
from equivariance.models.computation import computation_digest
from equivariance.models.gaussian import GaussianCNN
from equivariance.models.mobilenet import mobilenet
from equivariance.models.resnet import ResNet
from equivariance.models.wideresnet import WideResNet
