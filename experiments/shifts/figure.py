"""Redraw thesis Fig. 8 for the published ResNet-44 from diagonal.csv, horizontal.csv and vertical.csv."""

import runpy
from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import compare, style
from equivariance.study.verdicts.pages import renew
from equivariance.study.verdicts.parts import STRIDES

HERE = Path(__file__).resolve().parent
DIRECTIONS = ("diagonal", "horizontal", "vertical")
SHOWN = (1, 2, 3, 4, 5, 6, 7, 8, 15, 16)  # pixels
PARTS = (*STRIDES, "pool", "final")


def main(folder: Path = HERE) -> None:
    found = {direction: rows.read(folder / f"{direction}.csv") for direction in DIRECTIONS}
    title = "Published ResNet-44; band: 95 % interval over images"
    tables = {direction: rows.of_first_over(each) for direction, each in found.items()}
    figure = compare.plot_compare(tables, "element", "invariance", title=title, parts=tuple(STRIDES))
    runpy.run_path(str(HERE.parent / "augmentation/figure.py"))["dips"](figure)
    style.save(figure, folder / "figure", ("png", "svg"))
    renew(folder / "README.md", table(found))
    print(f"drew figure and table in {folder}")


def table(found: dict[str, pd.DataFrame]) -> str:
    """Invariance by part and shift, for each direction and reading; and how much larger equivariance is."""
    lines = [
        f"| invariance at a shift of | over | {' | '.join(map(str, SHOWN))} |",
        "|---|---|" + "---|" * len(SHOWN),
    ]
    for direction, each in found.items():
        means = each.groupby(["over", "score", "part", "element"]).value.mean()
        for part in PARTS if direction == "diagonal" else STRIDES:
            for over in sorted(each.over.unique(), reverse=True):
                cells = " | ".join(f"{means[over, 'invariance', part, pixels]:.2f}" for pixels in SHOWN)
                stride = f", stride {STRIDES[part]}" if part in STRIDES else ""
                lines.append(f"| {direction}, {part}{stride} | `{over}` | {cells} |")
    scores = found["diagonal"].groupby(["score", "over", "part"]).value.mean()
    gap = (scores["equivariance"] - scores["invariance"]).max()
    sizes = ", ".join(f"{direction} {each.images.max()}" for direction, each in found.items())
    return (
        "\n".join(lines) + f"\n\nImages: {sizes}. Equivariance is {gap:.3f} larger at most, averaged over shifts.\n"
    )


if __name__ == "__main__":
    main()
