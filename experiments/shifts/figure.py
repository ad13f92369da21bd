"""Redraw thesis Fig. 8 for the published ResNet-44 from diagonal.csv, horizontal.csv and vertical.csv."""

from pathlib import Path

import pandas as pd

from equivariance.analysis import plots
from equivariance.analysis.parts import draw_shifts
from equivariance.runs import rows
from experiments.augmentation.claims import peaks

HERE = Path(__file__).resolve().parent
LABELS = {direction: direction for direction in ("diagonal", "horizontal", "vertical")}


def main() -> None:
    files = [HERE / f"{direction}.csv" for direction in LABELS]
    results = pd.concat(rows.read(file).assign(direction=file.stem) for file in files)
    plots.save(draw_shifts(results, "direction", LABELS, "Published ResNet-44"), HERE / "figure", ("png", "svg"))
    print(f"drew {HERE / 'figure.png'} and .svg; multiples of the stride above their surroundings, by:")
    above = peaks(results, "direction").groupby(["part", "measure", "direction"])
    print(above.agg(["min", "mean", "max"]).round(3).to_string())


if __name__ == "__main__":
    main()
