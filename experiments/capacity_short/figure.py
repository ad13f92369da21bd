"""The figures of experiments/capacity for the reduced networks."""

from pathlib import Path

from experiments.capacity import figure
from experiments.capacity_short.claims import WIDTHS

HERE = Path(__file__).resolve().parent


def main() -> None:
    figure.main(HERE, "Reduced: WRN-10, 8 epochs", WIDTHS)


if __name__ == "__main__":
    main()
