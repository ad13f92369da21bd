"""Where this checkout lies, for the entry points and scripts that read its configuration and experiments."""

from equivariance.study.config import REPOSITORY  # which registers what conf/ refers to

__all__ = ["CONF", "EXPERIMENTS", "REPOSITORY"]

CONF = REPOSITORY / "conf"
EXPERIMENTS = REPOSITORY / "experiments"
