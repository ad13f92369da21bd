"""Draw which part's score goes with agreement, and renew the table of README.md, from results.csv."""

from pathlib import Path

from equivariance import rows
from equivariance.figures import style
from equivariance.names import NESTED, PARTS
from equivariance.study import consistency
from equivariance.study.verdicts.pages import renew

HERE = Path(__file__).resolve().parent


def main(folder: Path = HERE, what: str = "Networks trained on CIFAR-10 by others") -> None:
    results = rows.of_first_over(rows.read(folder / "results.csv"))
    style.save(consistency.plot_consistency(results, what), folder / "figure", ("png", "svg"))
    shown = "![Rank correlation of score and agreement by part](figure.png)"
    renew(folder / "README.md", f"{shown}\n\n*{what}; bars: 95 % intervals over networks.*\n\n{tables(results)}")
    print(f"drew figure and table in {folder}")


def tables(results) -> str:
    """Correlations by transformation, and the agreement of each network."""
    found = consistency.correlations(results)
    lines = []
    for transform, one in found.groupby("transform", sort=False):
        networks, tests = one.networks.max(), one[one.part.isin(PARTS)].p.dropna()
        lines += [
            f"{transform.capitalize()}, {networks} networks, {results.images.max()} images. Spearman's rho of "
            f"score and agreement [95 % bootstrap interval over networks], and its range when the networks of each "
            f"author are left out in turn:\n",
            "| score | " + " | ".join(PARTS) + " |",
            "|---|" + "---|" * len(PARTS),
        ]
        for score in (score for score in NESTED if score in set(one.score)):
            each = one[one.score == score].set_index("part").reindex(PARTS)
            lines.append(f"| {score} | " + " | ".join(_cell(row, networks) for _, row in each.iterrows()) + " |")
        (accuracy,) = (row for _, row in one[one.part == consistency.ACCURACY].iterrows())
        lines += [
            "",
            f"Accuracy and agreement: {_cell(accuracy, networks)}. {(tests < 0.05).sum()} of {len(tests)} p-values "
            f"of scores are below 0.05; one in twenty would be by chance alone.\n",
        ]
    agreement = consistency.agreements(results).drop_duplicates(["model", "transform"])
    transforms = list(agreement["transform"].unique())
    wide = agreement.pivot(index="model", columns="transform", values="agreement")[transforms]
    wide = wide.sort_values(transforms, ascending=False)
    lines += ["Agreement, mean over the elements:\n", "| network | " + " | ".join(wide.columns) + " |"]
    lines += ["|---|" + "---|" * len(wide.columns)]
    lines += [f"| {name} | " + " | ".join(f"{value:.3f}" for value in row) + " |" for name, row in wide.iterrows()]
    return "\n".join(lines) + "\n"


def _cell(row, networks: int) -> str:
    """Rho, its interval and range where there are any, and of how many networks if not of all."""
    if row.rho != row.rho:
        return "–"
    interval = f" [{row.low:z.2f}, {row.high:z.2f}]" if row.low == row.low else ""
    range_ = f", {row.lowest:z.2f} to {row.highest:z.2f}" if row.lowest == row.lowest else ""
    return f"{row.rho:z.2f}{interval}{range_}" + (f" ({row.networks} networks)" if row.networks < networks else "")


if __name__ == "__main__":
    main()
