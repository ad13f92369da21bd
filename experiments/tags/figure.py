"""The figure of experiments/zoo for all weights of the six architectures, coloured by architecture."""

import runpy
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(folder: Path = HERE) -> None:
    runpy.run_path(str(HERE.parent / "zoo/figure.py"))["main"](folder, "architecture")


if __name__ == "__main__":
    main()
