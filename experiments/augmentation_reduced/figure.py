"""The figures of experiments/augmentation for the reduced training."""

import runpy
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(folder: Path = HERE) -> None:
    runpy.run_path(str(HERE.parent / "augmentation/figure.py"))["main"](folder, "Reduced: ResNet-44, 20 epochs")


if __name__ == "__main__":
    main()
