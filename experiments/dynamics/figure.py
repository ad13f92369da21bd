"""The scores of every part against the epoch, with accuracy: a figure, and the table of README.md."""

from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.names import NESTED, PARTS
from equivariance.study.figures import facets, legend, measured
from equivariance.study.tables import crossed

TASKS = {"mnist6": "MNIST6", "mnist6_rot_inv": "Rot-Inv", "mnist6_rot_eq": "Rot-Eq", "cifar10": "ResNet-44"}
SETTLED = 0.05  # of the last value, as in the rule of L2
LOOKS = style.looks(NESTED) | {"accuracy": {"color": "black"}}


def figures(folder: Path, title: str) -> dict[str, style.Figure]:
    """A line of panels for each part, the last one for the accuracy; a column for each task."""
    results = measured(folder)
    scores = rows.by_part(results)
    reached = scores.drop_duplicates(["dataset", "seed", "epoch"])
    reached = reached.assign(part="accuracy", score="accuracy", value=reached.accuracy, chance=float("nan"))
    both = pd.concat([scores, reached])
    epochs = sorted(scores.epoch.unique())
    both = both.assign(x=both.epoch.map(epochs.index))
    split = ("part", (*PARTS, "accuracy")), ("dataset", TASKS)
    figure, grid = facets(both, draw, *split, 0.95, 0.5, sharex=True, sharey="row")
    for axes in grid[-1]:
        named = [place for place in range(len(epochs)) if place % 2 or len(epochs) < 8]
        axes.set_xticks(named, [f"{epochs[place]:g}" for place in named], fontsize=6)
        axes.set_xlabel("epoch")
    figure.suptitle(f"{title}, over={results.over.iloc[0]}\n{spread(scores)}", fontsize=7.5)
    legend(figure, "chance", ncols=4, fontsize=6.5)
    return {"figure": figure}


def draw(axes: style.Axes, panel: pd.DataFrame) -> None:
    """Mean over seeds against the epoch, evenly spaced, with a band of one standard deviation; and chance."""
    for score, one in panel.groupby("score", sort=False):
        each = one.groupby("x").agg(mean=("value", "mean"), std=("value", "std"), chance=("chance", "mean"))
        each, look = each.dropna(subset="mean"), LOOKS[score] | {"marker": ""}
        low, high = each["mean"] - each["std"], each["mean"] + each["std"]
        label = None if score == "accuracy" else score
        style.curve(axes, each.index, each["mean"], low, high, label=label, **look)
        axes.plot(each.index, each.chance, color=look["color"], ls=":", lw=0.8)
    if score != "accuracy":
        axes.set_ylim(-0.02, 1.02)


def spread(scores: pd.DataFrame) -> str:
    """What the bands are."""
    seeds = scores.seed.nunique()
    return f"mean of {seeds} seeds, band: ± standard deviation" if seeds > 1 else "one seed"


def settled_from(one: pd.DataFrame) -> float:
    """The first kept epoch from which on a score stays within `SETTLED` of its last value, in every seed."""
    wide = one.pivot(index="epoch", columns="seed", values="value").sort_index()
    away = (wide - wide.iloc[-1]).abs().max(axis=1) > SETTLED
    return wide.index[0] if not away.any() else wide.index[min(len(wide) - 1, away.to_numpy().nonzero()[0][-1] + 1)]


def page(folder: Path, title: str) -> str:
    """Values at the beginning, after one and five epochs and at the end, and where each score settles."""
    results = measured(folder)
    scores = rows.by_part(results)
    last = scores.epoch.max()
    scores = scores[scores.dataset.isin(scores.dataset[scores.epoch == last])]  # the others have no last value yet
    shown = [epoch for epoch in (0, 1, 5, last) if epoch in set(scores.epoch)]
    tasks = {task: name for task, name in TASKS.items() if task in set(scores.dataset)}
    known, curve = scores[scores.value.notna()], ["dataset", "score", "part"]
    settled = known.groupby(curve).apply(settled_from).rename("value")
    moved = ", ".join(f"{(settled[task] > 5).sum()} {name}" for task, name in tasks.items())
    early = known[known.epoch.isin(shown)].groupby([*curve, "epoch"]).value.mean()
    settles = settled.map("{:g}".format).reset_index().assign(epoch="settled")
    cells = pd.concat([early.map("{:.2f}".format).reset_index(), settles])
    epochs = {epoch: f"epoch {epoch:g}" for epoch in shown} | {"settled": "settled from epoch"}
    lines = {"dataset": tasks, "score": NESTED, "part": PARTS}
    reached = known[known.accuracy.notna() & known.epoch.isin(shown)].groupby(["dataset", "epoch"]).accuracy.mean()
    each = {name: ", ".join(map("{:.3f}".format, reached[task])) for task, name in tasks.items() if task in reached}
    accuracy = "; ".join(map(" ".join, each.items()))
    return (
        "![Scores of every part against the epoch, with accuracy](figure.png)\n\n"
        f"*{title}, over={results.over.iloc[0]}, {spread(rows.by_part(results))}.*\n\n"
        f"{(settled <= 5).sum()} of {len(settled)} curves stay within {SETTLED} of their last value from epoch 5 "
        f"of {last:g} on; those that do not: {moved}. Accuracy after epochs "
        f"{', '.join(f'{epoch:g}' for epoch in shown if epoch)}: {accuracy}.\n\n"
        + crossed(cells, lines, {"epoch": epochs}, "{value}", ["network", "score", "part"])
    )
