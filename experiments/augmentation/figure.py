"""Redraw thesis Fig. 9 / paper Fig. 6a (by part) and thesis Fig. 8 (shift by shift) from results.csv.

What an augmentation changes is small beside the scores themselves, so that both are drawn as differences from the
network without augmentation; the scores themselves, with their dips, and the course of training are figures too.
"""

from pathlib import Path

from equivariance import rows
from equivariance.figures import compare, style
from equivariance.study.verdicts.parts import STRIDES

HERE = Path(__file__).resolve().parent
NAMES = {
    "none": "no augmentation",
    "crop": "crops",
    "flip": "flips",
    "cutmix": "CutMix",
    "randaugment": "RandAugment",
}


def main(folder: Path = HERE, network: str = "ResNet-44, 200 epochs", **options) -> None:
    """Draw the figures of an experiment under shifts.

    Args:
        folder: of the experiment.
        network: heads the figures.
        options: of `draw`.
    """
    if not (folder / "results.csv").exists():
        print(f"no rows yet in {folder.name}: {network}")
        return
    draw(folder, rows.read(folder / "results.csv"), network, **options)


def draw(folder, results, network, minus=None, names=NAMES, by="part") -> None:
    results = rows.of_first_over(results)
    shifted = results[results["transform"] == "translation"]
    minus = minus or {"aug": "none"}
    title = titled(network, shifted)
    figures = {
        "figure": compare.plot_compare(
            [shifted], by, minus=minus if by == "part" else None, names=names, title=title
        ),
        "shifts": compare.plot_compare([shifted], "element", minus=minus, names=names, title=title),
        "dips": dips(compare.plot_compare([shifted], "element", names=names, title=title, parts=tuple(STRIDES))),
    }
    course = of_most_epochs(results)
    if course[course.trained].epoch.nunique() > 1:
        figures["epochs"] = compare.plot_compare([course], "epoch", names=names, title=titled(network, course))
    for name, figure in figures.items():
        style.save(figure, folder / name, ("png", "svg"))
    print(f"drew {', '.join(figures)} in {folder}")


def titled(network: str, results) -> str:
    """What was measured, of how many seeds; of rows under one transformation."""
    seeds = results.seed.nunique()
    spread = f"mean ± s.d. of {seeds} seeds" if seeds > 1 else "one seed; 95 % intervals over images"
    (transform,) = results["transform"].unique()
    turned = {"rotation": "quarter turns", "translation": f"shifts of 1 to {results.element.max()} pixels"}
    return f"{network}; {turned[transform]}\n{spread}"


def of_most_epochs(results):
    """The rows under the transformation that was measured after the most epochs, counted over all networks."""
    networks = results.drop_duplicates(["transform", "aug", "width", "seed", "epoch"])
    most = networks["transform"].value_counts().sort_index(ascending=False).idxmax()  # a tie: translation
    return results[results["transform"] == most]


def dips(figure: style.Figure) -> style.Figure:
    """Lines at the multiples of each part's stride."""
    for axes, (part, stride) in zip(figure.axes, STRIDES.items(), strict=True):
        axes.set_ylabel(f"{part}, stride {stride}")
        axes.grid(axis="x", visible=False)
        for shift in range(stride, 17, stride) if stride > 1 else ():
            axes.axvline(shift, color="0.6", lw=0.6, zorder=0)
    return figure


if __name__ == "__main__":
    main()
