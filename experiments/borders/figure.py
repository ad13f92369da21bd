"""Differences of networks under shifts, by what is done at the border and whether the stride divides the shift."""

from pathlib import Path

import pandas as pd

from equivariance.figures import style
from equivariance.names import BEFORE_POOLING
from equivariance.study.figures import facets, legend, measured
from equivariance.study.tables import crossed

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
    results = measured(folder)
    found = differences(scores(results))
    places, looks = list(BORDERS.values()), style.looks(ALIGNED)

    def draw(axes: style.Axes, panel: pd.DataFrame) -> None:
        for aligned, aside in zip(ALIGNED, (-0.2, 0.2), strict=True):
            one = panel[panel.aligned == aligned]
            x = one.border.map(places.index) + aside
            axes.errorbar(x, one.value, one.half, ls="", ms=3, label=ALIGNED[aligned], **looks[aligned])
        axes.axhline(0, color=style.GREY, lw=0.8, zorder=0)
        axes.set_xticks(range(len(places)), places, **style.SLANTED, fontsize=6)
        axes.margins(x=0.12)

    pairs = {pair: pair.replace(" minus ", "\nminus ") for pair in PAIRS}
    figure, _ = facets(found, draw, ("pair", pairs), ("part", BEFORE_POOLING), 1.2, 0.8, sharex=True, sharey=True)
    what = "Difference of equivariance, shifts of 1 to 8 pixels\naligned: the stride of the layer divides the shift"
    figure.suptitle(f"{what}; {results.images.max()} images", fontsize=7)
    legend(figure, fontsize=6.5)
    return {"figure": figure}


def page(folder: Path) -> str:
    """Differences by border; and means over all networks."""
    results = measured(folder)
    found, borders = scores(results), {"border": BORDERS.values()}
    shifts = {"part": BEFORE_POOLING, "aligned": ALIGNED}
    pairs = {"pair": [*PAIRS]} | shifts
    everywhere = found[found.groupby("model").border.transform("nunique") == len(BORDERS)]
    means = everywhere.groupby([*shifts, *borders]).value.agg(value="mean", networks="size").reset_index()
    return (
        f"Differences of equivariance with half of their 95 % interval over {results.images.max()} images. Of each "
        f"pair there is one training, so that no interval says anything of others:\n\n"
        f"{crossed(differences(found), pairs, borders, '{value:+.3f} ± {half:.3f}', ['pair', 'part', 'shifts'])}\n"
        f"Means over networks that were measured under all of them (how many):\n\n"
        f"{crossed(means, shifts, borders, '{value:.3f} ({networks})', ['part', 'shifts'])}"
    )
