"""The figures of experiments/augmentation for the reduced networks."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
from experiments.augmentation import figure


def main() -> None:
    figure.main(HERE, "Reduced: ResNet-20, 8 epochs")


if __name__ == "__main__":
    main()
