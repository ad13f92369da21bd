"""The figure of experiments/accuracy for the two published CIFAR networks."""

from pathlib import Path

from experiments.accuracy import figure

HERE = Path(__file__).resolve().parent


def main() -> None:
    figure.main(HERE)


if __name__ == "__main__":
    main()
