"""The figures of experiments/capacity for the reduced training."""

import runpy
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(folder: Path = HERE) -> None:
    runpy.run_path(str(HERE.parent / "capacity/figure.py"))["main"](folder, "Reduced: WRN-16, 15 epochs")


if __name__ == "__main__":
    main()
