"""One small network of each family, trained by one recipe: scores by part, accuracies, rank correlations."""

from math import isnan
from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.figures.compare import plot_compare
from equivariance.names import PARTS, SCORES
from equivariance.study.rank_correlation import rank_correlation
from equivariance.study.tables import markdown
from experiments.architectures.figure import by_part

NETWORKS = {  # family, millions of multiply-adds for one image, millions of parameters; tested with the networks
    "vit32": ("ViT", 64.3, 0.91),
    "mixer32": ("MLP-Mixer", 57.0, 0.85),
    "efficientnet32": ("EfficientNet", 56.5, 1.52),
    "resnext29": ("ResNeXt-29", 56.7, 0.36),
    "inception32": ("Inception", 91.6, 0.27),
    "resnet44": ("ResNet-44", 97.2, 0.66),
}
FAMILIES = {model: about[0] for model, about in NETWORKS.items()}


def measured(folder: Path) -> pd.DataFrame:
    """Rows of the first reading."""
    return rows.of_first_over(rows.read(folder / "results.csv"))


def of_networks(results: pd.DataFrame) -> pd.DataFrame:
    """Scores by part, mean over seeds, one row a network, transformation and score."""
    keys = ["transform", "score", "model", "part"]
    return rows.by_part(results).groupby(keys, sort=False)[["value", "chance", "accuracy"]].mean().reset_index()


def figures(folder: Path) -> dict[str, style.Figure]:
    """By part, trained and untrained; and against the epoch."""
    results = measured(folder)
    last = rows.of_last_epoch(results)
    seeds, images = last.seed.nunique(), last.images.max()
    kinds = {
        "figure": (rows.is_trained(last), last, "trained"),
        "untrained": (results.epoch == 0, results, "untrained"),
    }
    drawn = {}
    for stem, (chosen, table, word) in kinds.items():
        scores = of_networks(table[chosen]).set_index(["transform", "score"]).sort_index()
        title = f"One small network of each family, {word}\n{images} test images, mean of seeds: {seeds}"
        drawn[stem] = by_part(scores, FAMILIES, title)
    turned = results[results["transform"] == "rotation"]
    drawn["epochs"] = plot_compare([turned], by="epoch", names=FAMILIES, title="Quarter turns")
    return drawn


def page(folder: Path) -> str:
    """Accuracies and sizes beside the scores, trained and untrained; and rank correlations with accuracy."""
    results = measured(folder)
    last = rows.of_last_epoch(results)
    trained, untrained = of_networks(last[rows.is_trained(last)]), of_networks(results[results.epoch == 0])
    reached = last.drop_duplicates(["model", "seed"]).groupby("model").accuracy
    sizes = [
        [
            family,
            f"{adds:.1f} M",
            f"{parameters:.2f} M",
            spread(100 * reached.get_group(model)),
            len(reached.get_group(model)),
        ]
        for model, (family, adds, parameters) in NETWORKS.items()
        if model in reached.groups
    ]
    text = [markdown(["network", "multiply-adds", "parameters", "accuracy, mean ± s.d.", "seeds"], sizes)]
    for transform, one in trained.groupby("transform", sort=False):
        text.append(f"{transform.capitalize()}, trained (untrained):\n\n{_scores(one, untrained)}")
    head = ["transformation", "score", *PARTS]
    text.append(
        "Spearman's rho of score and accuracy over the networks (means of seeds; exact p) / over all trainings:\n\n"
        + markdown(head, _correlations(trained, rows.by_part(last[rows.is_trained(last)])))
    )
    return "\n".join(text)


def _scores(trained: pd.DataFrame, untrained: pd.DataFrame) -> str:
    keys = ["transform", "score", "model", "part"]
    before = untrained.set_index(keys).value
    lines = [
        [FAMILIES[model], score, *(_cell(one, part, before) for part in PARTS)]
        for score in SCORES
        for model, one in trained[trained.score == score].groupby("model", sort=False)
    ]
    return markdown(["network", "score", *PARTS], lines)


def _cell(one: pd.DataFrame, part: str, before: pd.Series) -> str:
    row = one[one.part == part]
    if row.empty:
        return "–"
    key = tuple(row.iloc[0][["transform", "score", "model", "part"]])
    untrained = before.get(key, float("nan"))
    return f"{row.value.iloc[0]:.2f} ({'–' if isnan(untrained) else f'{untrained:.2f}'})"


def spread(accuracies: pd.Series) -> str:
    """Mean and standard deviation over seeds; of one seed its value."""
    deviation = f" ± {accuracies.std():.1f}" if len(accuracies) > 1 else ""
    return f"{accuracies.mean():.1f}{deviation} %"


def _correlations(means: pd.DataFrame, each: pd.DataFrame) -> list[list[str]]:
    lines = []
    for key, one in means.groupby(["transform", "score"], sort=False):
        of_each = each[(each["transform"] == key[0]) & (each.score == key[1])]
        cells = []
        for part in PARTS:
            few, many = (
                rank_correlation(table.value, table.accuracy)
                for table in (one[one.part == part], of_each[of_each.part == part])
            )
            cells.append(f"{few.rho:.2f} (p {few.p:.2g}, n {few.networks}) / {many.rho:.2f} (n {many.networks})")
        lines.append([*key, *cells])
    return lines
