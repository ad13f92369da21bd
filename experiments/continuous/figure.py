"""The scores against angle, scale and shift: figures, and the tables of README.md."""

from itertools import product
from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.figures.summary import INTERPOLATED
from equivariance.names import BEFORE_POOLING, ELEMENTS, NESTED, PARTS, SCORES
from equivariance.study.figures import facets, legend
from equivariance.study.tables import crossed, markdown

TITLES = {"akamaster_resnet44": "ResNet-44", "mobilenet_v1_0.25_224": "MobileNet 0.25"}
ANGLES, TURNS = "continuous rotation", "rotation"
OTHERS = ("scaling", "sub-pixel shift")
SHOWN = [15, 30, 45, 60, 75, 90, 135, 180]  # degrees
FELT = [15, 45, 90, 180]  # of agreement
CONTROL = {"color": style.GREY, "lw": 0.8}


def read(folder: Path) -> pd.DataFrame:
    """Rows whose elements are numbers."""
    results = rows.read(folder / "results.csv")
    return results[results.model.isin(TITLES)].assign(element=results.element.astype(float))


def figures(folder: Path) -> dict[str, style.Figure]:
    """Against the angle, all parts (figure); against scale and shift, the parts before pooling (scales)."""
    keys = ["model", "trained", "transform", "part", "score", "element"]
    scores = read(folder).groupby(keys, sort=False)[["value", "chance", "control"]].mean().reset_index()
    turned = scores[scores["transform"].isin((ANGLES, TURNS)) & (scores.element <= 180)]
    angles, grid = facets(turned, draw, ("part", PARTS), ("model", TITLES), 1.1, 0.6, sharex=True, sharey=True)
    for axes in grid[-1]:
        axes.set_xticks([15, 45, 90, 135, 180])
        axes.set_xlabel(ELEMENTS[ANGLES])
    panels = {f"{name} {transform}": TITLES[name].replace(" ", "\n") for name, transform in product(TITLES, OTHERS)}
    other = scores[scores["transform"].isin(OTHERS) & scores.part.isin(BEFORE_POOLING)]
    other = other.assign(panel=other.model + " " + other["transform"])
    scales, grid = facets(other, draw, ("part", PARTS), ("panel", panels), 1.15, 0.6, sharex="col", sharey=True)
    for axes, panel in zip(grid[-1], (panel for panel in panels if (other.panel == panel).any()), strict=True):
        elements = sorted(other[other.panel == panel].element.unique())
        if panel.endswith("scaling"):
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(elements, [f"{each:g}" for each in elements], fontsize=5.5, rotation=90)
        axes.set_xlabel(ELEMENTS[other[other.panel == panel]["transform"].iloc[0]], fontsize=7)
    for figure in (angles, scales):
        legend(figure, "untrained", "chance", ncols=4, fontsize=6.5, handlelength=1.4)
    return {"figure": angles, "scales": scales}


def draw(axes: style.Axes, panel: pd.DataFrame) -> None:
    """Trained and untrained scores, chance level and control of the trained network; exact turns as circles."""
    for score, look in style.looks(NESTED).items():
        one = panel[panel.score == score].sort_values("element")
        colour, exact = look["color"], one["transform"] == TURNS
        trained, untrained = one[one.trained & ~exact], one[~one.trained & ~exact]
        axes.plot(trained.element, trained.value, color=colour, lw=1.2, label=score)
        axes.plot(untrained.element, untrained.value, color=colour, ls="--", lw=0.7)
        axes.plot(trained.element, trained.chance, color=colour, ls=":", lw=0.8)
        if score == "invariance":
            axes.plot(trained.element, trained.control, label="control", **CONTROL)
        if exact.any():
            turns = one[one.trained & exact]
            label = "exact turn" if score == NESTED[-1] else None
            axes.plot(turns.element, turns.value, "o", mfc="none", color=colour, ms=5, mew=0.8, label=label)
    axes.set_ylim(-0.02, 1.02)


def page(folder: Path) -> str:
    """Chosen angles; what exact turns and quarter turns say of it; the control, and what a user feels."""
    results = read(folder)
    trained = results[results.trained.astype(bool)]
    values = trained.groupby(["transform", "model", "part", "score", "element"]).value.mean()
    there = {name: title for name, title in TITLES.items() if name in set(trained.model)}
    layers, felt = [], []
    for name, title in there.items():
        angles, turns = values[ANGLES, name], values[TURNS, name]
        layers += [[title, part, *_compared(angles[part], turns[part])] for part in PARTS]
        one = trained[trained.model == name]
        of = one[one.control.notna()]
        low = f"{(of.control < INTERPOLATED).sum()} of {len(of)}"
        stays = one[one.agreement.notna() & (one["transform"] == ANGLES)].drop_duplicates("element")
        stays = stays.set_index("element")
        shares = [f"{share:.0%}" for share in (*stays.agreement[FELT], stays.agreement_worst.iloc[0])]
        felt.append([title, low, of.control.min(), *shares])
    sizes = ", ".join(f"{title} {trained[trained.model == name].images.max()}" for name, title in there.items())
    compared = ["largest difference from exact turns", "half of invariance's loss until 90° is lost at"]
    compared += ["equivariance is lowest at", *(f"another channel adds at {angle}°" for angle in (15, 45, 90))]
    stay = [*(f"class stays at {angle}°" for angle in FELT), "at all angles"]
    lines, shown = {"model": there, "part": PARTS, "score": NESTED}, {angle: f"{angle}°" for angle in SHOWN}
    known = values[ANGLES].dropna().reset_index()
    return "\n".join(
        [
            "![Scores against the angle](figure.png)\n",
            "*Solid: trained. Circles: exact quarter turns of whole images. Grey: the control of invariance; where "
            f"the score is far below it, the network is measured. Images: {sizes}.*\n",
            "![Scores against scale and sub-pixel shift](scales.png)\n",
            crossed(known, lines, {"element": shown}, head=["network", "part", "score"]),
            "What quarter turns miss. Differences are of invariance and equivariance at 90 and 180 degrees:\n",
            markdown(["network", "part", *compared], layers),
            "How much of it is interpolation, and what a user feels:\n",
            markdown(["network", f"control below {INTERPOLATED}", "lowest", *stay], felt),
        ]
    )


def _compared(angles: "pd.Series[float]", turns: "pd.Series[float]") -> list[object]:
    """What interpolated and exact turns say of a part."""
    gap = max(abs(angles[score][turn] - turns[score][turn]) for score in SCORES for turn in (90, 180))
    invariance, equivariance = (angles[score].sort_index() for score in SCORES)
    half = invariance.index[invariance <= (1 + invariance[90]) / 2].min()
    least = f"{equivariance.idxmin():g}° ({equivariance.min():.2f})"
    return [f"{gap:.3f}", f"{half:g}°", least, *(equivariance - invariance)[[15, 45, 90]]]
