"""The figure of experiments/accuracy for networks that others trained on ImageNet."""

import runpy
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(folder: Path = HERE) -> None:
    runpy.run_path(str(HERE.parent / "accuracy/figure.py"))["main"](folder)


if __name__ == "__main__":
    main()
