"""What of the logits goes with accuracy under quarter turns, over networks and during training."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path

import pandas as pd

from equivariance.figures import style
from equivariance.study.rank_correlation import rank_correlation
from equivariance.study.tables import crossed, over_seeds

DATASETS = {"imagenet": "ImageNet", "cifar10": "CIFAR-10"}


def correlations(folder: Path, quantities: Iterable[str]) -> pd.DataFrame:
    """Spearman's rho of accuracy and each quantity, over the networks of others, of which no epoch is known.

    Returns:
        Columns dataset, quantity, text, rho, low, high, networks.
    """
    table = pd.read_csv(folder / "logits.csv")
    found = []
    for (dataset, one), name in product(table[table.epoch < 0].groupby("dataset"), quantities):
        if one[name].notna().any():
            rho = rank_correlation(one[name], one.accuracy)
            found.append({"dataset": dataset, "quantity": name, "text": str(rho)} | asdict(rho))
    return pd.DataFrame(found)


def figures(folder: Path, quantities: Mapping[str, str]) -> dict[str, style.Figure]:
    """Rho with its interval, a panel for each data set, a line for each quantity."""
    found = correlations(folder, quantities)
    datasets = [dataset for dataset in DATASETS if dataset in set(found.dataset)]
    figure, grid = style.panels(1, len(datasets), 2.4, 0.4, sharey=True)
    for axes, dataset in zip(grid[0], datasets, strict=True):
        one = found[found.dataset == dataset]
        y, error = one.quantity.map([*quantities].index), [one.rho - one.low, one.high - one.rho]
        axes.errorbar(one.rho, y, xerr=error, fmt="o", elinewidth=1, color=style.COLOURS[0])
        axes.axvline(0, color=style.GREY, lw=0.8, zorder=0)
        axes.set_xlim(-1.08, 1.08)
        axes.set_title(f"{DATASETS[dataset]}, n = {one.networks.max()}", fontsize=7)
    figure.supxlabel("Spearman's rho with accuracy, 95 % interval over networks", fontsize=7)
    grid[0, 0].set_yticks(range(len(quantities)), quantities.values(), fontsize=6.5)
    grid[0, 0].invert_yaxis()
    return {"figure": figure}


def changes(folder: Path, quantities: Iterable[str]) -> pd.DataFrame:
    """From the first to the last kept epoch of our own networks: change of each quantity, and its 95 % t interval.

    Over architectures, of each of which the mean over seeds counts once.
    """
    table = pd.read_csv(folder / "logits.csv")
    epochs = table[table.epoch >= 0].sort_values("epoch").groupby(["model", "seed"])[["accuracy", *quantities]]
    change = (epochs.last() - epochs.first()).groupby("model").mean().melt(var_name="quantity")
    found = over_seeds(change.dropna().groupby("quantity").value)
    text = [f"{one.mean:+.3f} ± {one.half:.3f}, n = {one.count}" for one in found.itertuples(index=False)]
    return found.assign(dataset="training", text=text)


def page(folder: Path, quantities: Mapping[str, str]) -> str:
    """The same as a table, and beside it how each quantity changes while accuracy rises."""
    cells = pd.concat([correlations(folder, quantities), changes(folder, quantities)])
    lines = {"quantity": quantities | {"accuracy": "accuracy"}}
    across = {"dataset": DATASETS | {"training": "change during training"}}
    return crossed(cells, lines, across, "{text}", ["stays under quarter turns"])
