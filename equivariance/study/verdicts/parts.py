"""What the parts of the networks that are compared have in common."""

STRIDES = {"early": 1, "middle": 2, "late": 4}  # of the maps in the thirds of CIFAR's ResNets
