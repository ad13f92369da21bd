"""The figures of experiments/augmentation for the reduced networks."""

from pathlib import Path

from experiments.augmentation import figure

HERE = Path(__file__).resolve().parent


def main() -> None:
    figure.main(HERE, "Reduced: ResNet-20, 8 epochs")


if __name__ == "__main__":
    main()
