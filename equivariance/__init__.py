"""Learned equivariance: how much of a network's response to shifts and rotations is learned."""

__version__ = "0.2.0"
