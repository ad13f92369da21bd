"""Redraw thesis Fig. 10 / paper Fig. 6b from results.csv: scores against width, and differences by shift."""

import runpy
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(folder: Path = HERE, network: str = "WRN-40, 200 epochs") -> None:
    draw = runpy.run_path(str(HERE.parent / "augmentation/figure.py"))["main"]
    draw(folder, network, minus={"width": 1}, names={}, by="width")


if __name__ == "__main__":
    main()
