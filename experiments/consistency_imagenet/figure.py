"""The figure of experiments/consistency for networks trained on ImageNet."""

import runpy
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(folder: Path = HERE) -> None:
    draw = runpy.run_path(str(HERE.parent / "consistency/figure.py"))["main"]
    draw(folder, "Networks trained on ImageNet by others")


if __name__ == "__main__":
    main()
