"""How much more equivariant the turned tasks are than MNIST6, of all live channels and of equally many."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from equivariance.figures import style
from equivariance.names import BEFORE_POOLING, SCORES
from equivariance.study.figures import facets, legend
from equivariance.study.tables import crossed, over_seeds

TASKS = {"mnist6_rot_inv": "Rot-Inv", "mnist6_rot_eq": "Rot-Eq"}
CHANNELS = {"": "all live channels", "equal_": "equally many"}


def differences(folder: Path) -> pd.DataFrame:
    """Score less chance, less that of MNIST6: one row per weight decay, task, score, part and choice of channels.

    `mean`, and `half`, half the 95 % t interval over the n seeds (networks of a seed are paired); NaN with one.
    """
    table = pd.read_csv(folder / "live_channels.csv")
    table = pd.concat(
        table.assign(channels=channels, beyond=table[f"{prefix}value"] - table[f"{prefix}chance"])
        for prefix, channels in CHANNELS.items()
    )
    network = ["weight_decay", "score", "part", "channels", "seed", "dataset"]
    parts = table[table.part.isin(BEFORE_POOLING)].groupby(network).beyond.mean().unstack()
    apart = parts[[*TASKS]].sub(parts["mnist6"], axis=0).stack()
    return over_seeds(apart.groupby([*network[:4], "dataset"]))


def figures(folder: Path) -> dict[str, style.Figure]:
    """Equivariance: a panel for each weight decay, largest first; parts across, tasks and channels side by side."""
    found = differences(folder)
    found = found[found.score == "equivariance"]
    seeds = found.groupby("weight_decay")["count"].min().sort_index(ascending=False)
    decays = {decay: f"weight decay {decay:g}, {n} seeds" for decay, n in seeds.items()}
    figure, _ = facets(found, draw, ("weight_decay", decays), each=1.5, more=0.8, sharex=True, sharey=True)
    figure.supylabel("equivariance beyond chance, task minus MNIST6", fontsize=8)
    legend(figure)
    return {"figure": figure}


def draw(axes: style.Axes, panel: pd.DataFrame) -> None:
    """Means and 95 % intervals over seeds: filled of all live channels, open of equally many."""
    for place, (task, channels) in enumerate(product(TASKS, CHANNELS.values())):
        chosen = (panel.dataset == task) & (panel.channels == channels)
        one = panel[chosen].set_index("part").reindex(BEFORE_POOLING)
        colour = style.COLOURS[[*TASKS].index(task)]
        look = {"fmt": "o", "mfc": colour} if channels == CHANNELS[""] else {"fmt": "D", "mfc": "white"}
        x, label = np.arange(len(one)) + 0.16 * (place - 1.5), f"{TASKS[task]}, {channels}"
        axes.errorbar(x, one["mean"], one.half, color=colour, ms=4, lw=1, label=label, **look)
    axes.axhline(0, color=style.GREY, lw=0.8, zorder=0)
    axes.set_xticks(range(len(BEFORE_POOLING)), BEFORE_POOLING)


def page(folder: Path) -> str:
    """Live channels of 20, and the differences as a table."""
    found, table = differences(folder), pd.read_csv(folder / "live_channels.csv")
    live = table[table.score == "invariance"].groupby(["weight_decay", "part", "dataset"]).live.mean()
    alive = [
        ", ".join(f"{live[one.weight_decay, one.part, task]:.1f}" for task in ("mnist6", one.dataset))
        for one in found.itertuples()
    ]
    apart = [f"{one.mean:+.3f} ± {one.half:.3f}" for one in found.itertuples()]
    columns = {"live": alive, None: apart, "seeds": found["count"]}  # live and seeds: the same for both choices
    cells = pd.concat(found.assign(channels=name or found.channels, text=each) for name, each in columns.items())
    decays = {decay: f"{decay:g}" for decay in sorted(found.weight_decay.unique(), reverse=True)}
    lines = {"weight_decay": decays, "score": SCORES, "part": BEFORE_POOLING, "dataset": TASKS}
    differ = {channels: f"difference, {channels}" for channels in CHANNELS.values()}
    across = {"live": "live of 20: MNIST6, task"} | differ | {"seeds": "seeds"}
    return crossed(cells, lines, {"channels": across}, "{text}", ["weight decay", "score", "part", "task"])
