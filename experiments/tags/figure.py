"""The figure of experiments/zoo for all weights of the six architectures, coloured by architecture."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
from experiments.zoo import figure


def main() -> None:
    figure.main(HERE, "architecture")


if __name__ == "__main__":
    main()
