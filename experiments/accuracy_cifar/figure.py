"""The figure of experiments/accuracy for the two published CIFAR networks."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
from experiments.accuracy import figure


def main() -> None:
    figure.main(HERE)


if __name__ == "__main__":
    main()
