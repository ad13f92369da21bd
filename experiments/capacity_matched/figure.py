"""Width at matched accuracy: scores after every kept epoch against the accuracy reached there."""

from pathlib import Path

import numpy as np
import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.names import BEFORE_POOLING, SCORES
from equivariance.study.figures import facets, legend, measured
from equivariance.study.tables import crossed, over_seeds

PARTS = (*BEFORE_POOLING, "final")
DIFFERENCES = {"last": "after the last epoch", "matched": "at equal accuracy"}


def figures(folder: Path) -> dict[str, style.Figure]:
    return {"figure": against_accuracy(measured(folder), "shifts of 1 to 16 pixels")}


def against_accuracy(table: pd.DataFrame, transformation: str) -> style.Figure:
    """A panel for each part and score; a line for each training, a dashed one for the untrained networks."""
    scores = rows.by_part(table)
    looks = style.looks(sorted(scores.width.unique()))

    def draw(axes: style.Axes, panel: pd.DataFrame) -> None:
        for (width, _), one in panel[panel.epoch > 0].groupby(["width", "seed"]):
            one = one.sort_values("epoch")
            axes.plot(100 * one.accuracy, one.value, lw=0.8, label=f"width {width:g}", **looks[width])
        for width, value in panel[panel.epoch == 0].groupby("width").value.mean().items():
            axes.axhline(value, color=looks[width]["color"], ls="--", lw=0.8)

    split = ("part", PARTS), ("score", SCORES)
    figure, grid = facets(scores, draw, *split, each=1.05, more=0.9, sharex=True, sharey="row")
    for axes in grid[-1]:
        axes.set_xlabel("top-1 accuracy (%)", fontsize=7)
    epochs = ", ".join(f"{epoch:g}" for epoch in sorted({*scores.epoch} - {0}))
    title = f"WRN-16, {transformation}, seeds: {scores.seed.nunique()}"
    figure.suptitle(f"{title}\nmarks: after epochs {epochs}", fontsize=7)
    legend(figure, "untrained", ncols=3)
    return figure


def differences(scores: pd.DataFrame) -> pd.DataFrame:
    """The score of the widest network less that of the narrowest one, of each score, part and seed.

    Args:
        scores: from `rows.by_part`, after several epochs.

    Returns:
        Columns score, part, seed; accuracy, the highest that both networks have reached; `last`, the difference
        after their last epochs; `matched`, that at this accuracy, scores between two epochs interpolated in
        accuracy (NaN if one network had more after its first kept epoch already).
    """
    found = []
    for key, one in scores[scores.accuracy.notna()].groupby(["score", "part", "seed"]):
        networks = [network.sort_values("epoch") for _, network in one.groupby("width")]
        if len(networks) < 2:
            continue
        ends = networks[-1], networks[0]
        accuracy = min(network.accuracy.max() for network in ends)
        wide, narrow = (
            np.interp(accuracy, network.accuracy, network.value, left=np.nan)
            for network in (network.sort_values("accuracy") for network in ends)
        )
        last = ends[0].value.iloc[-1] - ends[1].value.iloc[-1]
        found.append([*key, accuracy, last, wide - narrow])
    return pd.DataFrame(found, columns=["score", "part", "seed", "accuracy", *DIFFERENCES])


def page(folder: Path) -> str:
    return described(measured(folder), "figure")


def described(table: pd.DataFrame, figure: str) -> str:
    """The figure of this name, and the differences, mean and 95 % interval over seeds."""
    found = differences(rows.by_part(table))
    each = found.melt(["score", "part", "seed"], list(DIFFERENCES), "when")
    mean = over_seeds(each.groupby(["score", "part", "when"]).value)
    reached = 100 * found.groupby("seed").accuracy.first()
    text = (
        f"![Scores against accuracy, by width]({figure}.png)\n\n"
        f"The widest less the narrowest network, mean and half of the 95 % interval over {len(reached)} seeds; "
        f"equal accuracy is the highest that both reach, {reached.min():.1f} to {reached.max():.1f} %:\n\n"
    )
    return text + crossed(mean, {"score": SCORES, "part": PARTS}, {"when": DIFFERENCES}, "{mean:+.3f} ± {half:.3f}")
