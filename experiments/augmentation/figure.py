"""Redraw thesis Fig. 9 / paper Fig. 6a (scores by part) and thesis Fig. 8 (shift by shift) from results.csv."""

from pathlib import Path

from equivariance.analysis import plots
from equivariance.analysis.parts import draw_parts, draw_shifts
from experiments.augmentation.claims import AUGMENTATIONS, rows_of

HERE = Path(__file__).resolve().parent
LABELS = {aug: aug for aug in AUGMENTATIONS} | {"none": "no augmentation", "randaugment": "RandAugment"}


def main(folder: Path = HERE, network: str = "ResNet-44", group: str = "aug", labels: dict = LABELS) -> None:
    """Draw figure.{png,svg} and shifts.{png,svg} of an experiment under shifts.

    Args:
        folder: of the experiment.
        network: heads the figures.
        group: the column that tells its networks apart.
        labels: the values of that column and their names.
    """
    results = rows_of(folder)
    if results.empty:
        print(f"no rows yet in {folder.name}: {network}")
        return
    trained = results[results.trained]
    title = f"{network}\nshifts of {trained.element.min()} to {trained.element.max()} pixels, "
    fewest, most = trained.groupby(group).seed.nunique().agg(["min", "max"])
    title += f"{fewest} to {most} seeds" if fewest < most else "one seed" if most == 1 else f"{most} seeds"
    plots.save(draw_parts(results, group, labels, title), folder / "figure", ("png", "svg"))
    plots.save(draw_shifts(trained, group, labels, title), folder / "shifts", ("png", "svg"))
    print(f"drew {folder / 'figure.png'} and shifts.png, and both as .svg")


if __name__ == "__main__":
    main()
