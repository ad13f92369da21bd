"""Draw the scores against angle, scale and shift, and renew the tables of README.md, from results.csv."""

import math
from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.names import ELEMENTS, NESTED, PARTS, SCORES
from equivariance.study.verdicts.pages import renew

HERE = Path(__file__).resolve().parent
TITLES = {"akamaster_resnet44": "ResNet-44", "mobilenet_v1_0.25_224": "MobileNet 0.25"}
ANGLES, TURNS = "continuous rotation", "rotation"
OTHERS = ("scaling", "sub-pixel shift")


@style.styled
def main(folder: Path = HERE) -> None:
    results = rows.read(folder / "results.csv")
    results = results.assign(element=results.element.astype(float))
    scores = results.groupby(["model", "trained", "transform", "part", "score", "element"], sort=False)[
        ["value", "chance", "control"]
    ].mean()
    scores = scores.reset_index()
    for name, figure in {"figure": draw_angles(scores), "scales": draw_others(scores)}.items():
        style.save(figure, folder / name, ("png", "svg"))
    sizes = results.drop_duplicates("model").set_index("model").images
    images = ", ".join(f"{TITLES[name]} {sizes[name]} images" for name in networks(scores))
    shown = (
        "![Scores against the angle](figure.png)\n\n"
        "*Solid: trained. Circles: exact quarter turns of whole images. Grey: the control of invariance; where the "
        f"score is far below it, the network is measured. {images}.*\n\n"
        "![Scores against scale and sub-pixel shift](scales.png)\n\n"
    )
    renew(folder / "README.md", shown + tables(scores, results))
    print(f"drew figure, scales and tables in {folder}")


def networks(scores: pd.DataFrame) -> list[str]:
    return [name for name in TITLES if name in set(scores.model)]


def draw_angles(scores: pd.DataFrame) -> style.Figure:
    """A line of panels for each part, a column for each network; exact quarter turns as open circles."""
    names = networks(scores)
    figure, grid = style.plt.subplots(
        len(PARTS),
        len(names),
        figsize=(style.COLUMN, 6.2),
        sharex=True,
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for column, name in zip(grid.T, names, strict=True):
        of_network = scores[scores.model == name]
        for axes, part in zip(column, PARTS, strict=True):
            of_part = of_network[of_network.part == part]
            _curves(axes, of_part[of_part["transform"] == ANGLES])
            exact = of_part[(of_part["transform"] == TURNS) & of_part.trained & (of_part.element <= 180)]
            for score, colour in zip(NESTED, style.COLOURS, strict=False):
                one = exact[exact.score == score]
                axes.plot(one.element, one.value, "o", mfc="none", color=colour, ms=5, mew=0.8)
        column[0].set_title(TITLES[name])
        column[-1].set_xticks([15, 45, 90, 135, 180])
        column[-1].set_xlabel(ELEMENTS[ANGLES])
    for axes, part in zip(grid[:, 0], PARTS, strict=True):
        axes.set_ylabel(part)
        axes.set_ylim(-0.02, 1.02)
    _legend(figure, {"exact turn": {"marker": "o", "ls": "", "mfc": "none", "ms": 5}})
    return figure


def draw_others(scores: pd.DataFrame) -> style.Figure:
    """Scales and shifts before pooling: a line of panels a part, a column a network and transformation."""
    names, parts = networks(scores), PARTS[:3]
    columns = [(name, transform) for name in names for transform in OTHERS]
    figure, grid = style.plt.subplots(
        len(parts),
        len(columns),
        figsize=(style.COLUMN, 4.0),
        sharex="col",
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for column, (name, transform) in zip(grid.T, columns, strict=True):
        one = scores[(scores.model == name) & (scores["transform"] == transform)]
        for axes, part in zip(column, parts, strict=True):
            _curves(axes, one[one.part == part])
        column[0].set_title(TITLES[name].replace(" ", "\n"), fontsize=7)
        column[-1].set_xlabel(ELEMENTS[transform], fontsize=7)
        elements = sorted(one.element.unique())
        if transform == "scaling":
            column[-1].set_xscale("log")
            column[-1].minorticks_off()
        column[-1].set_xticks(elements, [f"{each:g}" for each in elements], fontsize=5.5, rotation=90)
    for axes, part in zip(grid[:, 0], parts, strict=True):
        axes.set_ylabel(part)
        axes.set_ylim(-0.02, 1.02)
    _legend(figure, {})
    return figure


def _curves(axes, table: pd.DataFrame) -> None:
    """Trained and untrained scores, the chance level and the control of the trained network."""
    for score, colour in zip(NESTED, style.COLOURS, strict=False):
        one = table[table.score == score].sort_values("element")
        trained, untrained = one[one.trained], one[~one.trained]
        axes.plot(trained.element, trained.value, color=colour, lw=1.2)
        axes.plot(untrained.element, untrained.value, color=colour, ls="--", lw=0.7)
        axes.plot(trained.element, trained.chance, color=colour, ls=":", lw=0.8)
    control = table[(table.score == "invariance") & table.trained].sort_values("element")
    axes.plot(control.element, control.control, color=style.GREY, lw=0.8)


def _legend(figure: style.Figure, more: dict) -> None:
    lines = {score: {"color": colour, "lw": 1.2} for score, colour in zip(NESTED, style.COLOURS, strict=False)}
    lines |= {
        "control": {"color": style.GREY, "lw": 0.8},
        "untrained": {"color": "black", "ls": "--", "lw": 0.7},
        "chance": {"color": "black", "ls": ":", "lw": 0.8},
    }
    handles = [style.plt.Line2D([], [], **({"color": "black"} | look)) for look in (lines | more).values()]
    figure.legend(handles, [*lines, *more], loc="outside lower center", ncols=4, fontsize=6.5, handlelength=1.4)


def tables(scores: pd.DataFrame, results: pd.DataFrame) -> str:
    """Chosen angles, the agreement with exact turns, and what quarter turns miss."""
    trained = scores[scores.trained]
    shown = [15, 30, 45, 60, 75, 90, 135, 180]
    lines = [f"| network | part | score | {' | '.join(f'{each}°' for each in shown)} |"]
    lines += ["|---|---|---|" + "---|" * len(shown)]
    for name in networks(scores):
        for part in PARTS:
            for score in NESTED:
                one = trained[(trained.model == name) & (trained.part == part) & (trained.score == score)]
                angle = one[one["transform"] == ANGLES].set_index("element").value
                if angle.isna().all():  # no linear score where there are too many channels
                    continue
                values = " | ".join(f"{angle[each]:.2f}" for each in shown)
                lines.append(f"| {TITLES[name]} | {part} | {score} | {values} |")
    return "\n".join([*lines, "", *verdicts(trained, results)]) + "\n"


def verdicts(trained: pd.DataFrame, results: pd.DataFrame) -> list[str]:
    """What comes out of the rows, in words."""
    found = []
    for name in networks(trained):
        of_network = trained[trained.model == name]
        of_network = of_network.set_index(["transform", "part", "score", "element"]).value.sort_index()
        angles = of_network[ANGLES].sort_index()
        gaps = {
            part: max(
                abs(angles[part, score, turn] - of_network[TURNS, part, score, turn])
                for score in SCORES
                for turn in (90, 180)
            )
            for part in PARTS
        }
        found.append(
            f"- **{TITLES[name]}: agreement at 90 and 180 degrees.** Largest difference from the exact turns of "
            f"whole images, invariance and equivariance: "
            f"{', '.join(f'{part} {gap:.3f}' for part, gap in gaps.items())}."
        )
        texts = []
        for part in PARTS[:3]:
            invariance, equivariance = (angles[part, score].sort_index() for score in SCORES)
            half = (1 + invariance[90]) / 2
            below = next((each for each in invariance.index if invariance[each] <= half), math.nan)
            least, partner = equivariance.idxmin(), equivariance - invariance
            texts.append(
                f"{part}: half of what invariance loses until 90 degrees is lost at {below:g}; equivariance is "
                f"lowest at {least:g} ({equivariance[least]:.2f}; at 90 degrees {equivariance[90]:.2f}); another "
                f"channel adds {partner[15]:.2f} at 15 degrees, {partner[45]:.2f} at 45 and {partner[90]:.2f} at 90"
            )
        found.append(f"- **{TITLES[name]}: what quarter turns miss.** {'; '.join(texts)}.")
        low = results[(results.model == name) & results.trained & (results.control < rows.INTERPOLATED)]
        known = results[(results.model == name) & results.trained & results.control.notna()]
        found.append(
            f"- **{TITLES[name]}: control** below {rows.INTERPOLATED} in {len(low)} of {len(known)} rows, lowest "
            f"{known.control.min():.2f}."
        )
        felt = results[(results.model == name) & results.trained & results.agreement.notna()]
        felt = felt[felt["transform"] == ANGLES].drop_duplicates("element").set_index("element")
        found.append(
            f"- **{TITLES[name]}: what a user feels.** The predicted class stays for "
            + ", ".join(f"{felt.agreement[each]:.0%} at {each}" for each in (15, 45, 90, 180))
            + f" degrees; under all angles at once for {felt.agreement_worst.iloc[0]:.0%}."
        )
    return found


if __name__ == "__main__":
    main()
