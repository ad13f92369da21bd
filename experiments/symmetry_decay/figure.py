"""How much more equivariant the turned tasks are than MNIST6, of all live channels and of equally many."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from equivariance.figures import style
from equivariance.study.figures import legend
from equivariance.study.tables import markdown

TASKS = {"mnist6_rot_inv": "Rot-Inv", "mnist6_rot_eq": "Rot-Eq"}
PARTS = ["early", "middle", "late"]
CHANNELS = {"": "all that are alive", "equal_": "equally many"}


def differences(folder: Path) -> pd.DataFrame:
    """Score less chance, less that of MNIST6: one row per weight decay, task, score, part and choice of channels.

    `mean`, and `half`, half the 95 % t interval over the n seeds (networks of a seed are paired); NaN with one.
    """
    table, found = pd.read_csv(folder / "live_channels.csv"), []
    network = ["weight_decay", "score", "part", "seed", "dataset"]
    for prefix, channels in CHANNELS.items():
        table["beyond"] = table[f"{prefix}value"] - table[f"{prefix}chance"]
        parts = table[table.part.isin(PARTS)].groupby(network).beyond.mean().unstack("dataset")
        for task in TASKS:
            each = (parts[task] - parts["mnist6"]).groupby(network[:3]).agg(["mean", "std", "count"]).reset_index()
            found.append(each.assign(dataset=task, channels=channels))
    table = pd.concat(found).rename(columns={"count": "n"})
    table["half"] = stats.t.ppf(0.975, table.n - 1) * table["std"] / np.sqrt(table.n)
    return table.drop(columns="std")


def figures(folder: Path) -> dict[str, style.Figure]:
    """Equivariance: a panel for each weight decay, largest first; parts across, tasks and channels side by side."""
    table = differences(folder)
    table = table[table.score == "equivariance"]
    decays = sorted(table.weight_decay.unique(), reverse=True)
    figure, grid = style.panels(1, len(decays), 2.2, 2.0, sharey=True)
    for axes, decay in zip(grid[0], decays, strict=True):
        for place, (task, channels) in enumerate((t, c) for t in TASKS for c in CHANNELS.values()):
            one = table[(table.weight_decay == decay) & (table.dataset == task) & (table.channels == channels)]
            one = one.set_index("part").reindex(PARTS)
            colour = style.COLOURS[[*TASKS].index(task)]
            axes.errorbar(
                np.arange(len(PARTS)) + 0.16 * (place - 1.5),
                one["mean"],
                one.half,
                fmt="o" if channels == CHANNELS[""] else "D",
                mfc=colour if channels == CHANNELS[""] else "white",
                color=colour,
                ms=4,
                lw=1,
                label=f"{TASKS[task]}, {channels}",
            )
        axes.axhline(0, color=style.GREY, lw=0.8, zorder=0)
        axes.set_title(f"weight decay {decay:g}, {int(one.n.min())} seeds", fontsize=7)
        axes.set_xticks(range(len(PARTS)), PARTS)
    grid[0, 0].set_ylabel("equivariance beyond chance,\ntask minus MNIST6")
    legend(figure)
    return {"figure": figure}


def live(folder: Path) -> pd.Series:
    """Mean number of live channels by weight decay, part and task."""
    table = pd.read_csv(folder / "live_channels.csv")
    table = table[(table.score == "invariance") & table.part.isin(PARTS)]
    return table.groupby(["weight_decay", "part", "dataset"]).live.mean()


def page(folder: Path) -> str:
    """Live channels of 20, and the differences as a table."""
    table, alive = differences(folder), live(folder)
    lines = []
    for (decay, score, part, task), one in table.groupby(["weight_decay", "score", "part", "dataset"]):
        one = one.set_index("channels")
        told = [f"{one['mean'][c]:+.3f} ± {one.half[c]:.3f}" for c in CHANNELS.values()]
        channels = f"{alive[decay, part, 'mnist6']:.1f}, {alive[decay, part, task]:.1f}"
        lines.append([f"{decay:g}", score, part, TASKS[task], channels, *told, int(one.n.iloc[0])])
    order = {part: place for place, part in enumerate(PARTS)}
    lines.sort(key=lambda line: (-float(line[0]), line[1], order[line[2]], line[3]))
    head = ["weight decay", "score", "part", "task", "live of 20: MNIST6, task", "difference, all live channels"]
    return markdown([*head, "difference, equally many", "seeds"], lines)
