"""The figure of experiments/dynamics for the reduced ResNet-44."""

import runpy
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(folder: Path = HERE) -> None:
    draw = runpy.run_path(str(HERE.parent / "dynamics/figure.py"))["main"]
    draw(folder, "Reduced: ResNet-44, 20 epochs, quarter turns")


if __name__ == "__main__":
    main()
