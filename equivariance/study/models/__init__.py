"""The networks of the papers, networks of timm and torchvision, published networks, and anybody's own."""

from equivariance.study.models.build import (
    brings_weights,
    build,
    check_accuracy,
    input_shape,
    predicts_dataset_classes,
    prepare,
    untrained,
)
from equivariance.study.models.cnn7 import CNN7
from equivariance.study.models.computation import computation_digest
from equivariance.study.models.gaussian import GaussianCNN
from equivariance.study.models.mobilenet import mobilenet
from equivariance.study.models.resnet import ResNet
from equivariance.study.models.wideresnet import WideResNet
