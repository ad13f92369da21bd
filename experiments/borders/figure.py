"""Differences of networks under shifts, by what is done at the border and whether the stride divides the shift."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from equivariance.figures import style
from equivariance.names import BEFORE_POOLING
from equivariance.study.figures import facets, legend, measured
from equivariance.study.tables import crossed, over_seeds

BORDERS = {
    "translation": "overlap",
    "full translation": "full",
    "circular translation": "circular",
    "sub-pixel shift": "sub-pixel",
}
ALIGNED = {True: "aligned", False: "not aligned"}  # whether the stride of the layer divides the shift
Pairs = Mapping[str, Sequence[str]]  # of networks that differ in one thing, by what that is


def scores(results: pd.DataFrame, score: str = "equivariance") -> pd.DataFrame:
    """Means by network, seed, part before pooling, border and `ALIGNED` shifts.

    Returns:
        Columns model, seed, border, shifts, part, value, and half, half the width of the 95 % interval over
        images (mean over layers and shifts, as if these were one: it is rather too wide).
    """
    one = results[(results.score == score) & results.part.isin(BEFORE_POOLING)]
    one = one.assign(shifts=one.element.astype(float) % one.stride == 0, border=one["transform"].map(BORDERS))
    one = one.assign(half=(one.high - one.low) / 2)
    keys = ["model", "seed", "border", "shifts", "part"]
    return one.groupby(keys, sort=False)[["value", "half"]].mean().reset_index()


def differences(found: pd.DataFrame, pairs: Pairs) -> pd.DataFrame:
    """The difference of each pair that there is, in the columns of `scores` but model and seed, by pair; and seeds.

    Of several seeds the mean, and half its interval over seeds; of one, half its interval over images.
    """
    keys = ["border", "shifts", "part"]
    tables = []
    for pair, (one, other) in pairs.items():
        sides = [found[found.model == name].set_index([*keys, "seed"])[["value", "half"]] for name in (one, other)]
        both = sides[0].join(sides[1], how="inner", rsuffix="_other")
        images = ((both.half**2 + both.half_other**2) ** 0.5).groupby(keys, sort=False).first()
        mean = over_seeds((both.value - both.value_other).groupby(keys, sort=False)).set_index(keys)
        half = mean.half.fillna(images)
        tables.append(mean.assign(pair=pair, value=mean["mean"], half=half, seeds=mean["count"]).reset_index())
    return pd.concat(tables, ignore_index=True)


def figures(folder: Path, pairs: Pairs) -> dict[str, style.Figure]:
    """A panel for each pair and part: the difference by border; filled where the stride divides the shift."""
    results = measured(folder)
    found = differences(scores(results), pairs)
    places, looks = list(BORDERS.values()), style.looks(ALIGNED)

    def draw(axes: style.Axes, panel: pd.DataFrame) -> None:
        for aligned, aside in zip(ALIGNED, (-0.2, 0.2), strict=True):
            one = panel[panel.shifts == aligned]
            x = one.border.map(places.index) + aside
            axes.errorbar(x, one.value, one.half, ls="", ms=3, label=ALIGNED[aligned], **looks[aligned])
        axes.axhline(0, color=style.GREY, lw=0.8, zorder=0)
        axes.set_xticks(range(len(places)), places, **style.SLANTED, fontsize=6)
        axes.margins(x=0.12)

    names = {pair: pair.replace(" minus ", "\nminus ") for pair in pairs}
    figure, _ = facets(found, draw, ("pair", names), ("part", BEFORE_POOLING), 1.2, 0.8, sharex=True, sharey=True)
    sizes = f"{results.images.max()} images, seeds: {found.seeds.max()}"
    what = f"Difference of equivariance, shifts of 1 to 8 pixels, {sizes}"
    figure.suptitle(f"{what}\naligned: the stride of the layer divides the shift", fontsize=6.5)
    legend(figure, fontsize=6.5)
    return {"figure": figure}


def page(folder: Path, pairs: Pairs) -> str:
    """Differences by border; and means over all networks."""
    results = measured(folder)
    found, borders = scores(results), {"border": BORDERS.values()}
    apart = differences(found, pairs)
    shifts = {"part": BEFORE_POOLING, "shifts": ALIGNED}
    everywhere = found[found.groupby("model").border.transform("nunique") == len(BORDERS)]
    means = everywhere.groupby([*shifts, *borders]).agg(value=("value", "mean"), networks=("model", "nunique"))
    single = " images. Of each pair there is one training, so that no interval says anything of others"
    over = f"{apart.seeds.max()} seeds" if apart.seeds.max() > 1 else f"{results.images.max()}{single}"
    table = crossed(apart, {"pair": [*pairs]} | shifts, borders, "{value:+.3f} ± {half:.3f}")
    return (
        f"Differences of equivariance with half of their 95 % interval over {over}:\n\n{table}\n"
        f"Means over networks that were measured under all of them (how many):\n\n"
        f"{crossed(means.reset_index(), shifts, borders, '{value:.3f} ({networks})')}"
    )
