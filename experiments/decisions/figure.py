"""What of the logits goes with accuracy under quarter turns: rank correlations over networks."""

from pathlib import Path

import pandas as pd

from equivariance.figures import style
from equivariance.study.rank_correlation import RankCorrelation, rank_correlation
from equivariance.study.tables import markdown

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


def correlations(folder: Path) -> dict[str, dict[str, RankCorrelation]]:
    """Spearman's rho of accuracy and each quantity, by data set; of trained networks after their last epoch."""
    table = pd.read_csv(folder / "logits.csv")
    last = table.groupby(["dataset", "model", "seed"]).epoch.transform("max")
    table = table[table.epoch == last]
    return {
        dataset: {name: rank_correlation(one[name], one.accuracy) for name in QUANTITIES if one[name].notna().any()}
        for dataset in DATASETS
        if len(one := table[table.dataset == dataset])
    }


def figures(folder: Path) -> dict[str, style.Figure]:
    """Rho with its interval, a panel for each data set, a line for each quantity."""
    found = correlations(folder)
    figure, grid = style.panels(1, len(found), 2.4, 0.4, sharey=True)
    for axes, (dataset, of) in zip(grid[0], found.items(), strict=True):
        for place, name in enumerate(QUANTITIES):
            if name in of:
                one = of[name]
                axes.plot([one.low, one.high], [place, place], color=style.COLOURS[0], lw=1)
                axes.plot(one.rho, place, "o", color=style.COLOURS[0])
        axes.axvline(0, color=style.GREY, lw=0.8, zorder=0)
        axes.set_xlim(-1.08, 1.08)
        axes.set_title(f"{DATASETS[dataset]}, n = {of['agreement'].networks}", fontsize=7)
    figure.supxlabel("Spearman's rho with accuracy, 95 % interval over networks", fontsize=7)
    grid[0, 0].set_yticks(range(len(QUANTITIES)), QUANTITIES.values(), fontsize=6.5)
    grid[0, 0].invert_yaxis()
    return {"figure": figure}


def page(folder: Path) -> str:
    """The same as a table."""
    found = correlations(folder)
    lines = [
        [words, *(str(found[dataset].get(name, "–")) for dataset in found)] for name, words in QUANTITIES.items()
    ]
    return markdown(["stays under quarter turns", *(DATASETS[dataset] for dataset in found)], lines)
