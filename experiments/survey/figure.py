"""Draw survey.csv: both scores of the first and the last layer before pooling, one line a network, by family.

Families are what the table tells apart: the layout of the maps, and whether their stride grows with depth.
"""

from pathlib import Path

import pandas as pd

from equivariance.figures import style
from equivariance.figures.tables import markdown
from equivariance.names import SCORES
from equivariance.study.verdicts.pages import renew

HERE = Path(__file__).resolve().parent
TRANSFORMS = {"rotation": "quarter turn", "translation": "shift by 8 pixels"}
FAMILIES = ("n c h w", "tokens, one stride", "tokens, stages")
ENDS = ("first", "last")
EXACT = 0.9999  # what counts as 1


@style.styled
def main(folder: Path = HERE) -> None:
    survey = pd.read_csv(folder / "survey.csv")
    renew(folder / "README.md", table(survey[survey.layers.notna()]))
    survey = survey[survey.layers > 0]  # of the others one was refused, and one has no layer before pooling
    kinds = survey.apply(family, axis=1)
    figure, grid = style.plt.subplots(
        len(TRANSFORMS),
        len(FAMILIES),
        figsize=(style.COLUMN, 4.3),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for line, (transform, name) in zip(grid, TRANSFORMS.items(), strict=True):
        for axes, kind in zip(line, FAMILIES, strict=True):
            draw(axes, survey[kinds == kind], transform)
            if transform == "rotation":
                axes.set_title(f"{kind}\n{(kinds == kind).sum()} networks", fontsize=7)
        line[0].set_ylabel(name)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), ncols=2, loc="outside lower center")
    figure.suptitle(f"{len(survey)} untrained networks, two photographs;\nfirst and last layer before pooling")
    style.save(figure, folder / "figure", ("png", "svg"))
    print(f"drew figure in {folder}")


def family(row: pd.Series) -> str:
    """Channels first; tokens or channels last, at one stride throughout, or in stages of growing stride."""
    if set(row.kinds.split(", ")) <= {"n c h w"}:
        return FAMILIES[0]
    return FAMILIES[1 if len(row.strides.split()) == 1 else 2]


def table(networks: pd.DataFrame) -> str:
    """A line for each network: its layers, both scores of the first and the last one, and the check by shifts."""
    head = [
        "network",
        "family",
        "image",
        "layers",
        "layout",
        "strides x layers",
        *TRANSFORMS.values(),
        "circular",
        "s",
    ]
    return markdown(
        head, [line(row) for _, row in networks.fillna({"kinds": "none", "strides": "none"}).iterrows()]
    )


def line(row: pd.Series) -> list[str]:
    """What the table says of a network."""
    scores = [
        " to ".join(" / ".join(f"{row[f'{name}_{score}_{end}']:.2f}" for score in SCORES) for end in ENDS)
        for name in TRANSFORMS
    ]
    held = f"1 ({row.circular_shift:.0f})" if row.circular > EXACT else "see below"
    about = [row.model, row.family, row["size"], f"{row.layers:g}", row.kinds, row.strides]
    return [*about, *scores, held, f"{row.seconds:.0f}"]


def draw(axes: style.Axes, networks: pd.DataFrame, transform: str) -> None:
    """A thin line for each network, a thick one for the median of them all, for both scores."""
    for score, colour, marker in zip(SCORES, style.COLOURS, style.MARKERS, strict=False):
        values = networks[[f"{transform}_{score}_{end}" for end in ENDS]].to_numpy().T
        axes.plot(ENDS, values, color=colour, lw=0.4, alpha=0.25)
        middle = pd.DataFrame(values).median(axis=1)
        axes.plot(ENDS, middle, color=colour, marker=marker, lw=1.8, label=f"{score} (median)")
    axes.set_xlim(-0.25, 1.25)
    axes.set_ylim(-0.02, 1.02)


if __name__ == "__main__":
    main()
