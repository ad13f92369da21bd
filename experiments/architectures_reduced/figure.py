"""One small network of each family, trained by one recipe: scores by part, accuracies, rank correlations."""

from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.figures.compare import plot_compare
from equivariance.names import PARTS, SCORES
from equivariance.study.figures import measured
from equivariance.study.rank_correlation import KEYS, correlated
from equivariance.study.tables import crossed, markdown
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


def of_networks(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores by part, mean over seeds."""
    return scores.groupby([*KEYS, "model"], sort=False)[["value", "chance", "accuracy"]].mean().reset_index()


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """All rows, and scores by part of the networks after their last epoch, and before their first."""
    results = measured(folder)
    last = rows.of_last_epoch(results)
    return results, rows.by_part(last[rows.is_trained(last)]), rows.by_part(results[results.epoch == 0])


def figures(folder: Path) -> dict[str, style.Figure]:
    """By part, trained and untrained; and against the epoch."""
    results, *both = read(folder)
    drawn = {}
    for stem, word, scores in zip(("figure", "untrained"), ("trained", "untrained"), both, strict=True):
        size = f"{results.images.max()} test images, seeds: {scores.seed.nunique()}"
        title = f"One small network of each family, {word}\n{size}"
        drawn[stem] = by_part(of_networks(scores), FAMILIES, title)
    turned = results[results["transform"] == "rotation"]
    drawn["epochs"] = plot_compare([turned], by="epoch", names=FAMILIES, title="Quarter turns")
    return drawn


def page(folder: Path) -> str:
    """Accuracies and sizes beside the scores, trained and untrained; and rank correlations with accuracy."""
    _, trained, untrained = read(folder)
    reached = dict(list(trained.drop_duplicates(["model", "seed"]).groupby("model").accuracy))
    sizes = [
        [family, f"{adds:.1f} M", f"{parameters:.2f} M", spread(100 * reached[model]), len(reached[model])]
        for model, (family, adds, parameters) in NETWORKS.items()
        if model in reached
    ]
    means = of_networks(trained)
    scores = means.merge(of_networks(untrained), "left", [*KEYS, "model"], suffixes=("", "_before"))
    rho = correlated(means, "accuracy").merge(correlated(trained, "accuracy"), on=KEYS, suffixes=("", "_all"))
    parts, lines = {"part": PARTS}, {"transform": scores["transform"].unique(), "score": SCORES}
    networks = lines | {"model": FAMILIES}
    correlations = "{rho:.2f} (p {p:.2g}, n {networks}) / {rho_all:.2f} (n {networks_all})"
    return (
        f"{markdown(['network', 'multiply-adds', 'parameters', 'accuracy, mean ± s.d.', 'seeds'], sizes)}\n"
        f"Trained (untrained):\n\n{crossed(scores, networks, parts, '{value:.2f} ({value_before:.2f})')}\n"
        "Spearman's rho of score and accuracy over the networks (means of seeds; exact p) / over all trainings:\n\n"
        f"{crossed(rho, lines, parts, correlations)}"
    )


def spread(accuracies: pd.Series) -> str:
    """Mean and standard deviation over seeds; of one seed its value."""
    deviation = f" ± {accuracies.std():.1f}" if len(accuracies) > 1 else ""
    return f"{accuracies.mean():.1f}{deviation} %"
