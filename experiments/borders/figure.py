"""Differences of networks under shifts, by what is done at the border and whether the stride divides the shift."""

from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.names import BEFORE_POOLING
from equivariance.study.figures import facets, legend
from equivariance.study.tables import markdown

BORDERS = {
    "translation": "overlap",
    "full translation": "full",
    "circular translation": "circular",
    "sub-pixel shift": "sub-pixel",
}
PAIRS = {  # of networks that differ in one thing
    "WRN-16, width 2 minus 1": ("zskt_wrn_16_2", "zskt_wrn_16_1"),
    "CutMix minus baseline": ("lilei_resnet32_cutmix", "lilei_resnet32_baseline"),
    "mixup minus baseline": ("lilei_resnet32_mixup", "lilei_resnet32_baseline"),
    "WRN-40-1 minus WRN-16-1": ("zskt_wrn_40_1", "zskt_wrn_16_1"),
}
ALIGNED = {True: "aligned", False: "not aligned"}


def scores(results: pd.DataFrame, score: str = "equivariance") -> pd.DataFrame:
    """Means by network, part before pooling, border and whether the stride of a layer divides the shift.

    Returns:
        Columns model, border, aligned, part, value, and half, half the width of the 95 % interval over images (mean
        over layers and shifts, as if these were one: it is rather too wide).
    """
    one = results[(results.score == score) & results.part.isin(BEFORE_POOLING)]
    one = one.assign(
        border=one["transform"].map(BORDERS),
        aligned=one.element.astype(float) % one.stride == 0,
        half=(one.high - one.low) / 2,
    )
    keys = ["model", "border", "aligned", "part"]
    return one.groupby(keys, sort=False)[["value", "half"]].mean().reset_index()


def differences(found: pd.DataFrame) -> pd.DataFrame:
    """The difference of each pair that there is, and half its interval, in the columns of `scores`, by pair."""
    keys = ["border", "aligned", "part"]
    tables = []
    for pair, (one, other) in PAIRS.items():
        sides = [found[found.model == name].set_index(keys)[["value", "half"]] for name in (one, other)]
        both = sides[0].join(sides[1], how="inner", rsuffix="_other").reset_index()
        half = (both.half**2 + both.half_other**2) ** 0.5
        tables.append(both[keys].assign(pair=pair, value=both.value - both.value_other, half=half))
    return pd.concat(tables, ignore_index=True)


def figures(folder: Path) -> dict[str, style.Figure]:
    """A panel for each pair and part: the difference by border; filled where the stride divides the shift."""
    results = rows.of_first_over(rows.read(folder / "results.csv"))
    found = differences(scores(results))
    places = list(BORDERS.values())

    def draw(axes: style.Axes, panel: pd.DataFrame) -> None:
        for (aligned, word), colour in zip(ALIGNED.items(), style.COLOURS, strict=False):
            one = panel[panel.aligned == aligned]
            x = one.border.map(places.index) + (-0.12 if aligned else 0.12)
            axes.errorbar(x, one.value, one.half, ls="", marker="o" if aligned else "s", color=colour, label=word)
        axes.axhline(0, color=style.GREY, lw=0.8, zorder=0)
        axes.set_xticks(range(len(places)), places, **style.SLANTED, fontsize=6)

    pairs = {pair: pair.replace(" minus ", "\nminus ") for pair in PAIRS}
    parts = {part: part for part in BEFORE_POOLING}
    figure, _ = facets(found, draw, ("pair", pairs), ("part", parts), 1.2, 0.8, sharex=True, sharey=True)
    figure.suptitle(
        f"Difference of equivariance, shifts of 1 to 8 pixels\n{results.images.max()} images", fontsize=7.5
    )
    legend(figure, fontsize=6.5)
    return {"figure": figure}


def page(folder: Path) -> str:
    """Differences by border; and means over all networks."""
    results = rows.of_first_over(rows.read(folder / "results.csv"))
    found = scores(results)
    apart = differences(found).assign(shifts=lambda table: table.aligned.map(ALIGNED))
    apart["cell"] = [f"{row.value:+.3f} ± {row.half:.3f}" for row in apart.itertuples()]
    keys = ["pair", "part", "shifts"]
    wide = (
        apart.pivot(index=keys, columns="border", values="cell").reindex(columns=list(BORDERS.values())).fillna("–")
    )
    order = [(pair, part, word) for pair in PAIRS for part in BEFORE_POOLING for word in ALIGNED.values()]
    lines = [[*key, *wide.loc[key]] for key in order if key in wide.index]
    everywhere = found.groupby("model").border.transform("nunique") == len(BORDERS)
    mean = (
        found[everywhere]
        .groupby(["part", "border", "aligned"])
        .agg(value=("value", "mean"), n=("model", "nunique"))
    )
    of_all = [
        [part, word, *(_mean(mean, part, border, aligned) for border in BORDERS.values())]
        for part in BEFORE_POOLING
        for aligned, word in ALIGNED.items()
    ]
    return (
        f"Differences of equivariance with half of their 95 % interval over {results.images.max()} images. Of each "
        f"pair there is one training, so that no interval says anything of others:\n\n"
        f"{markdown([*keys, *BORDERS.values()], lines)}\n"
        f"Means over networks that were measured under all of them (how many):\n\n"
        f"{markdown(['part', 'shifts', *BORDERS.values()], of_all)}"
    )


def _mean(mean: pd.DataFrame, part: str, border: str, aligned: bool) -> str:
    if (part, border, aligned) not in mean.index:
        return "–"
    row = mean.loc[(part, border, aligned)]
    return f"{row.value:.3f} ({row.n:.0f})"
