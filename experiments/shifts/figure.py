"""Redraw thesis Fig. 8 for the published ResNet-44 from diagonal.csv, horizontal.csv and vertical.csv."""

import runpy
from pathlib import Path

from equivariance.analysis import compare, plots
from equivariance.analysis.parts import STRIDES
from equivariance.runs import rows

HERE = Path(__file__).resolve().parent
DIRECTIONS = ("diagonal", "horizontal", "vertical")


def main(folder: Path = HERE) -> None:
    tables = {direction: rows.of_one_reading(rows.read(folder / f"{direction}.csv")) for direction in DIRECTIONS}
    title = "Published ResNet-44; band: 95 % interval over images"
    figure = compare.plot_compare(tables, "element", "invariance", title=title, parts=tuple(STRIDES))
    runpy.run_path(str(HERE.parent / "augmentation/figure.py"))["dips"](figure)
    plots.save(figure, folder / "figure", ("png", "svg"))
    print(f"drew figure in {folder}")


if __name__ == "__main__":
    main()
