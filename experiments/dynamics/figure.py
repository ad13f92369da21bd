"""Draw the scores of every part against the epoch, with accuracy, and renew README.md's table, from results.csv."""

import math
from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.names import NESTED, PARTS
from equivariance.study.verdicts.pages import renew

HERE = Path(__file__).resolve().parent
TASKS = {"mnist6": "MNIST6", "mnist6_rot_inv": "Rot-Inv", "mnist6_rot_eq": "Rot-Eq", "cifar10": "ResNet-44"}
SETTLED = 0.05  # of the last value, as in the rule of L2


@style.styled
def main(folder: Path = HERE, title: str = "CNN-7, quarter turns") -> None:
    if not (folder / "results.csv").exists():
        print(f"no rows yet in {folder}")
        return
    results = rows.of_first_over(rows.read(folder / "results.csv"))
    scores = rows.by_part(results)
    seeds = scores.seed.nunique()
    several = f"mean of {seeds} seeds, band: ± standard deviation" if seeds > 1 else "one seed"
    figure = draw(scores, f"{title}, over={results.over.iloc[0]}\n{several}")
    style.save(figure, folder / "figure", ("png", "svg"))
    shown = "![Scores of every part against the epoch, with accuracy](figure.png)"
    renew(folder / "README.md", f"{shown}\n\n*{title}, over={results.over.iloc[0]}, {several}.*\n\n{table(scores)}")
    print(f"drew figure and table in {folder}")


def draw(scores: pd.DataFrame, title: str) -> style.Figure:
    """A line of panels for each part, the last one for the accuracy; a column for each task."""
    tasks = [task for task in TASKS if task in set(scores.dataset)]
    epochs = sorted(scores.epoch.unique())
    ticks = range(len(epochs))
    figure, grid = style.plt.subplots(
        len(PARTS) + 1, len(tasks), figsize=(style.COLUMN, 6.2), sharex=True, layout="constrained", squeeze=False
    )
    for column, task in zip(grid.T, tasks, strict=True):
        of_task = scores[scores.dataset == task]
        for axes, part in zip(column, PARTS, strict=False):
            of_part = of_task[of_task.part == part]
            for score, colour in zip(NESTED, style.COLOURS, strict=False):
                one = of_part[of_part.score == score]
                _curve(axes, one, "value", epochs, color=colour, label=score)
                _curve(axes, one, "chance", epochs, color=colour, ls=":", lw=0.8)
            axes.set_ylim(-0.02, 1.02)
        accuracy = of_task.drop_duplicates(["seed", "epoch"])
        _curve(column[-1], accuracy, "accuracy", epochs, color="black")
        column[-1].set_ylim(math.floor(10 * scores.accuracy.min()) / 10, 1)
        column[0].set_title(TASKS[task])
        named = [place for place in ticks if place % 2 == 1 or len(epochs) < 8]
        column[-1].set_xlabel("epoch")
        column[-1].set_xticks(named, [f"{epochs[place]:g}" for place in named], fontsize=6)
    for axes, part in zip(grid[:, 0], [*PARTS, "accuracy"], strict=True):
        axes.set_ylabel(part)
    for axes in grid[:, 1:].flat:
        axes.tick_params(labelleft=False)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    chance = style.plt.Line2D([], [], color=style.GREY, ls=":", lw=0.8)
    figure.legend([*handles, chance], [*labels, "chance"], loc="outside lower center", ncols=4, fontsize=6.5)
    figure.suptitle(title, fontsize=7.5)
    return figure


def _curve(axes, one: pd.DataFrame, column: str, epochs: list[float], **line) -> None:
    """Mean over seeds against the epoch, evenly spaced, with a band of one standard deviation."""
    each = one.groupby("epoch")[column].agg(["mean", "std"]).dropna(subset="mean")
    x = [epochs.index(epoch) for epoch in each.index]
    axes.plot(x, each["mean"], **{"lw": 1.1} | line)
    if each["std"].notna().any() and line.get("ls") != ":":
        low, high = each["mean"] - each["std"], each["mean"] + each["std"]
        axes.fill_between(x, low, high, color=line["color"], alpha=style.SPREAD, lw=0)


def settled_from(one: pd.DataFrame) -> float:
    """The first kept epoch from which on a score stays within `SETTLED` of its last value, in every seed."""
    wide = one.pivot(index="epoch", columns="seed", values="value").sort_index()
    away = (wide - wide.iloc[-1]).abs().max(axis=1) > SETTLED
    return wide.index[0] if not away.any() else wide.index[min(len(wide) - 1, away.to_numpy().nonzero()[0][-1] + 1)]


def table(scores: pd.DataFrame) -> str:
    """Of each score and part, its values at the beginning, after one and five epochs and at the end, and where it
    settles."""
    last = scores.epoch.max()
    complete = scores[scores.epoch == last].dataset.unique()
    scores = scores[scores.dataset.isin(complete)]  # the others have no last value yet
    shown = [epoch for epoch in sorted({0, 1, 5, last}) if epoch in set(scores.epoch)]
    head = " | ".join(f"epoch {epoch:g}" for epoch in shown)
    lines = [
        f"| network | score | part | {head} | settled from epoch |",
        "|---|---|---|" + "---|" * (len(shown) + 1),
    ]
    late, total = dict.fromkeys((TASKS[task] for task in TASKS if task in set(scores.dataset)), 0), 0
    for task in (task for task in TASKS if task in set(scores.dataset)):
        for score in NESTED:
            for part in PARTS:
                one = scores[(scores.dataset == task) & (scores.score == score) & (scores.part == part)]
                if one.value.isna().all():
                    continue
                mean, settled = one.groupby("epoch").value.mean(), settled_from(one)
                total += 1
                late[TASKS[task]] += int(settled > 5)
                values = " | ".join(f"{mean.get(epoch, math.nan):.2f}" for epoch in shown)
                lines.append(f"| {TASKS[task]} | {score} | {part} | {values} | {settled:g} |")
    accuracy = scores[scores.accuracy.notna()].drop_duplicates(["dataset", "seed", "epoch"])
    accuracy = accuracy.groupby(["dataset", "epoch"]).accuracy.mean().reset_index()
    text = "; ".join(
        f"{TASKS[task]} " + ", ".join(f"{one.accuracy:.3f}" for _, one in known.sort_values("epoch").iterrows())
        for task in TASKS
        if len(known := accuracy[(accuracy.dataset == task) & accuracy.epoch.isin(shown)])
    )
    moved = ", ".join(f"{count} {task}" for task, count in late.items())
    epochs = ", ".join(f"{epoch:g}" for epoch in shown if epoch)
    return (
        f"{total - sum(late.values())} of {total} curves stay within {SETTLED} of their last value from epoch 5 of "
        f"{last:g} on; those that do not: {moved}. Accuracy after epochs {epochs}: {text}.\n\n"
    ) + "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
