"""What of the logits goes with accuracy under quarter turns: rank correlations over networks."""

from dataclasses import asdict
from itertools import product
from pathlib import Path

import pandas as pd

from equivariance.figures import style
from equivariance.study.rank_correlation import rank_correlation
from equivariance.study.tables import crossed

QUANTITIES = {
    "agreement": "same decision",
    "over_images": "logits, over images",
    "over_classes": "logits, over classes",
    "softmax_over_images": "probabilities, over images",
    "softmax_over_classes": "probabilities, over classes",
    "largest_1": "largest logit",
    "rest_1": "all but the largest",
    "largest_3": "3 largest logits",
    "rest_3": "all but 3",
    "largest_10": "10 largest logits",
    "rest_10": "all but 10",
}
DATASETS = {"imagenet": "ImageNet", "cifar10": "CIFAR-10"}


def correlations(folder: Path) -> pd.DataFrame:
    """Spearman's rho of accuracy and each quantity; of trained networks after their last epoch.

    Returns:
        Columns dataset, quantity, text, rho, low, high, networks.
    """
    table = pd.read_csv(folder / "logits.csv")
    last = table[table.epoch == table.groupby(["dataset", "model", "seed"]).epoch.transform("max")]
    found = []
    for (dataset, one), name in product(last.groupby("dataset"), QUANTITIES):
        if one[name].notna().any():
            rho = rank_correlation(one[name], one.accuracy)
            found.append({"dataset": dataset, "quantity": name, "text": str(rho)} | asdict(rho))
    return pd.DataFrame(found)


def figures(folder: Path) -> dict[str, style.Figure]:
    """Rho with its interval, a panel for each data set, a line for each quantity."""
    found = correlations(folder)
    datasets = [dataset for dataset in DATASETS if dataset in set(found.dataset)]
    figure, grid = style.panels(1, len(datasets), 2.4, 0.4, sharey=True)
    for axes, dataset in zip(grid[0], datasets, strict=True):
        one = found[found.dataset == dataset]
        error = [one.rho - one.low, one.high - one.rho]
        axes.errorbar(
            one.rho,
            one.quantity.map([*QUANTITIES].index),
            xerr=error,
            fmt="o",
            elinewidth=1,
            color=style.COLOURS[0],
        )
        axes.axvline(0, color=style.GREY, lw=0.8, zorder=0)
        axes.set_xlim(-1.08, 1.08)
        axes.set_title(f"{DATASETS[dataset]}, n = {one.networks.max()}", fontsize=7)
    figure.supxlabel("Spearman's rho with accuracy, 95 % interval over networks", fontsize=7)
    grid[0, 0].set_yticks(range(len(QUANTITIES)), QUANTITIES.values(), fontsize=6.5)
    grid[0, 0].invert_yaxis()
    return {"figure": figure}


def page(folder: Path) -> str:
    """The same as a table."""
    lines, across = {"quantity": QUANTITIES}, {"dataset": DATASETS}
    return crossed(correlations(folder), lines, across, "{text}", ["stays under quarter turns"])
