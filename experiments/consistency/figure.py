"""Which part's score goes with agreement: a figure, and the tables of README.md."""

from pathlib import Path
from typing import Any

from equivariance.figures.style import Figure
from equivariance.names import NESTED, PARTS
from equivariance.study.figures import measured, plot_rank_correlation
from equivariance.study.rank_correlation import ACCURACY, agreements, with_agreement
from equivariance.study.tables import crossed, markdown


def figures(folder: Path, what: str) -> dict[str, Figure]:
    """The rank correlation of score and agreement by part; the last place is the accuracy's."""
    found = with_agreement(measured(folder))
    label = "rank correlation\nwith agreement"
    return {"figure": plot_rank_correlation(found.dropna(subset="low"), (*PARTS, ACCURACY), label, what)}


def page(folder: Path, what: str) -> str:
    """Correlations by transformation, and the agreement of each network."""
    results = measured(folder)
    text = ["![Rank correlation of score and agreement by part](figure.png)"]
    text += [f"*{what}; bars: 95 % intervals over networks.*"]
    for transform, one in with_agreement(results).groupby("transform", sort=False):
        networks, tests = one.networks.max(), one[one.part.isin(PARTS)].p.dropna()
        one = one.assign(text=[cell(row, networks) for row in one.itertuples()])
        accuracy = one[one.score == ACCURACY].text.item()
        text += [
            f"{transform.capitalize()}, {networks} networks, {results.images.max()} images. Spearman's rho of "
            "score and agreement [95 % bootstrap interval over networks], and its range when the networks of each "
            "author are left out in turn:",
            crossed(one, {"score": NESTED}, {"part": PARTS}, "{text}").strip(),
            f"Accuracy and agreement: {accuracy}. {(tests < 0.05).sum()} of {len(tests)} "
            "p-values of scores are below 0.05; one in twenty would be by chance alone.",
        ]
    agreement = agreements(results).drop_duplicates(["model", "transform"])
    transforms = list(agreement["transform"].unique())
    wide = agreement.pivot(index="model", columns="transform", values="agreement")[transforms]
    wide = wide.sort_values(transforms, ascending=False).map("{:.3f}".format).reset_index()
    text += ["Agreement, mean over the elements:", markdown(["network", *transforms], wide.to_numpy())]
    return "\n\n".join(text)


def cell(row: Any, networks: int) -> str:
    """Rho, its interval and range where there are any, and of how many networks if not of all."""
    if row.rho != row.rho:
        return "–"
    interval = f" [{row.low:z.2f}, {row.high:z.2f}]" if row.low == row.low else ""
    range_ = f", {row.lowest:z.2f} to {row.highest:z.2f}" if row.lowest == row.lowest else ""
    return f"{row.rho:z.2f}{interval}{range_}" + (f" ({row.networks} networks)" if row.networks < networks else "")
