"""Redraw thesis Fig. 10 / paper Fig. 6b from results.csv: WRN-40 by part and width, and shift by shift."""

from pathlib import Path

from experiments.augmentation import figure
from experiments.capacity.claims import WIDTHS

HERE = Path(__file__).resolve().parent


def main(folder: Path = HERE, network: str = "WRN-40", widths: tuple[int, ...] = WIDTHS) -> None:
    figure.main(folder, network, "width", {width: f"width {width}" for width in widths})


if __name__ == "__main__":
    main()
