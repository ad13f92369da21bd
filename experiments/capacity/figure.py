"""Redraw thesis Fig. 10 / paper Fig. 6b from results.csv: WRN-40 by part and width, and shift by shift."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
from experiments.augmentation import figure
from experiments.capacity.claims import WIDTHS


def main(folder: Path = HERE, network: str = "WRN-40", widths: tuple[int, ...] = WIDTHS) -> None:
    figure.main(folder, network, "width", {width: f"width {width}" for width in widths})


if __name__ == "__main__":
    main()
