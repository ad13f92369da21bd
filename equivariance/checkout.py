"""Where this checkout lies, for the entry points and scripts that read its configuration and experiments."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CONF = REPOSITORY / "conf"
EXPERIMENTS = REPOSITORY / "experiments"
