"""The figure of experiments/zoo for all weights of the six architectures, coloured by architecture."""

from pathlib import Path

from experiments.zoo import figure

HERE = Path(__file__).resolve().parent


def main() -> None:
    figure.main(HERE, "architecture")


if __name__ == "__main__":
    main()
