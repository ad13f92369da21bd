"""The figures of experiments/capacity for the reduced networks."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
from experiments.capacity import figure
from experiments.capacity_short.claims import WIDTHS


def main() -> None:
    figure.main(HERE, "Reduced: WRN-10, 8 epochs", WIDTHS)


if __name__ == "__main__":
    main()
