"""Redraw thesis Fig. 7 / paper Fig. 5 from results.csv: rotation invariance and equivariance of CNN-7 by depth."""

from pathlib import Path

from equivariance import rows
from equivariance.figures import compare, style

HERE = Path(__file__).resolve().parent
TASKS = {"mnist6": "MNIST6", "mnist6_rot_inv": "Rot-Inv", "mnist6_rot_eq": "Rot-Eq"}


def main(folder: Path = HERE) -> None:
    results = rows.of_first_over(rows.read(folder / "results.csv"))
    seeds = results.seed.nunique()
    band = f"mean of {seeds} seeds; band: ± s.d." if seeds > 1 else "one seed; band: 95 % interval over images"
    title = f"CNN-7, quarter turns, over={results.over.iloc[0]}\n{band}"
    figures = {"figure": compare.plot_compare([results], names=TASKS, title=title)}
    if results[results.trained].epoch.nunique() > 1:
        figures["epochs"] = compare.plot_compare([results], "epoch", names=TASKS, title=title)
    for name, figure in figures.items():
        style.save(figure, folder / name, ("png", "svg"))
    print(f"drew {', '.join(figures)} in {folder}")


if __name__ == "__main__":
    main()
