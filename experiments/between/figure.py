"""Draw the similarity of layers of two networks as heat maps, and renew README.md's table, from similarity.csv."""

from pathlib import Path

import pandas as pd

from equivariance.figures import similarity, style
from equivariance.study.verdicts.pages import renew

HERE = Path(__file__).resolve().parent
KINDS = {"matching": "best partner", "linear": "best linear map", "cka": "linear CKA"}
AXES = {  # pair: the first and the second network
    "two trainings": ("ResNet-44", "another training"),
    "two widths": ("WRN-16-1", "WRN-16-2"),
    "untrained": ("ResNet-44, trained", "untrained"),
}
SHOWN = {"ResNet-44": ("stem", "block7", "block14", "final"), "WRN-16": ("stem", "block2", "block4", "final")}


@style.styled
def main(folder: Path = HERE) -> None:
    table = pd.read_csv(folder / "similarity.csv")
    style.save(draw(table), folder / "figure", ("png", "svg"))
    renew(folder / "README.md", f"![Layers of one network against those of another](figure.png)\n\n{means(table)}")
    print(f"drew figure and table in {folder}")


def draw(table: pd.DataFrame) -> style.Figure:
    """A line of heat maps for each pair, a column for each kind of similarity."""
    figure, grid = style.plt.subplots(
        len(AXES), len(KINDS), figsize=(style.COLUMN, 4.6), sharex="row", sharey="row", layout="constrained"
    )
    for (pair, (first, second)), line in zip(AXES.items(), grid, strict=True):
        one = table[table.pair == pair]
        for (kind, title), axes in zip(KINDS.items(), line, strict=True):
            image = similarity.heat_map(axes, one, kind)
            if pair == next(iter(AXES)):
                axes.set_title(title, fontsize=7)
        for side, axis in (("a", line[0].yaxis), ("b", line[0].xaxis)):
            names = one.drop_duplicates(f"index_{side}").sort_values(f"index_{side}")[f"layer_{side}"].tolist()
            of = next(shown for network, shown in SHOWN.items() if first.startswith(network))
            axis.set_ticks([names.index(name) for name in of], of)
        for axes in line:
            axes.tick_params(labelsize=5.5)
            axes.tick_params("x", rotation=90)
        line[0].set_ylabel(first, fontsize=7)
        line[1].set_xlabel(second, fontsize=7)
    figure.colorbar(image, ax=grid, location="bottom", shrink=0.6, aspect=30, label="similarity")
    return figure


def means(table: pd.DataFrame) -> str:
    """Of each pair and kind: the mean over layers at the same place, over all others, and of the chance level."""
    lines = ["| pair | similarity | same layer | other layers | best layer is the same or next to it | chance |"]
    lines.append("|---|---|---|---|---|---|")
    for pair in AXES:
        one = table[table.pair == pair]
        same = one.index_a == one.index_b
        for kind, title in KINDS.items():
            wide = one.pivot(index="index_a", columns="index_b", values=kind)
            near = ((wide.idxmax(axis=1) - wide.index).abs() <= 1).mean()
            lines.append(
                f"| {pair} | {title} | {one[same][kind].mean():.2f} | {one[~same][kind].mean():.2f} | {near:.0%} | "
                f"{one[same][f'{kind}_chance'].mean():.2f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
