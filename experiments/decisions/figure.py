"""What of the logits goes with accuracy under quarter turns: rank correlations over networks."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path

import pandas as pd

from equivariance.figures import style
from equivariance.study.rank_correlation import rank_correlation
from equivariance.study.tables import crossed

DATASETS = {"imagenet": "ImageNet", "cifar10": "CIFAR-10"}


def correlations(folder: Path, quantities: Iterable[str]) -> pd.DataFrame:
    """Spearman's rho of accuracy and each quantity; of trained networks after their last epoch.

    Returns:
        Columns dataset, quantity, text, rho, low, high, networks.
    """
    table = pd.read_csv(folder / "logits.csv")
    last = table[table.epoch == table.groupby(["dataset", "model", "seed"]).epoch.transform("max")]
    found = []
    for (dataset, one), name in product(last.groupby("dataset"), quantities):
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


def page(folder: Path, quantities: Mapping[str, str]) -> str:
    """The same as a table."""
    lines, across = {"quantity": quantities}, {"dataset": DATASETS}
    return crossed(correlations(folder, quantities), lines, across, "{text}", ["stays under quarter turns"])
