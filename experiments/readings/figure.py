"""Draw every reading of the measure on CNN-7 by depth, and renew the table of README.md.

The rows are those of experiments/symmetry (CNN-7) and experiments/public_similarity (ResNet-44 of others).
"""

from pathlib import Path

import pandas as pd
from scipy.stats import spearmanr

from equivariance import rows
from equivariance.figures import style
from equivariance.files import write_atomic
from equivariance.names import BEFORE_POOLING, OVER

HERE = Path(__file__).resolve().parent
TASKS = {"mnist6": "MNIST6", "mnist6_rot_inv": "Rot-Inv", "mnist6_rot_eq": "Rot-Eq"}
TURNED = ("mnist6_rot_inv", "mnist6_rot_eq")
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


@style.styled
def main(folder: Path = HERE) -> None:
    results = rows.read(folder.parent / "symmetry/results.csv")
    results = rows.of_last_epoch(results[results.trained.astype(bool)])
    seeds = int(results[results.over != "dataset"].groupby("dataset").seed.nunique().max())
    shared = results[
        results.seed.isin(results[results.over == "image"].seed)
    ]  # the same networks for every reading
    layers = rows.by_layer(shared)
    style.save(draw(layers, seeds), folder / "figure", ("png", "svg"))
    text = (folder / "README.md").read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    cifar = rows.read(folder.parent / "public_similarity/results.csv")
    write_atomic(folder / "README.md", before + BEGIN + tables(layers, seeds, cifar) + END + after)
    print(f"drew figure and table in {folder}")


def draw(layers: pd.DataFrame, seeds: int) -> style.Figure:
    """Equivariance by depth: a panel for each task, a line for each reading."""
    figure, panels = style.plt.subplots(3, 1, figsize=(style.COLUMN, 5.2), sharex=True, layout="constrained")
    for axes, (task, title) in zip(panels, TASKS.items(), strict=True):
        for over, colour, marker in zip(OVER, style.COLOURS, style.MARKERS, strict=False):
            one = layers[(layers.dataset == task) & (layers.over == over) & (layers.score == "equivariance")]
            mean = one.groupby("index").value.mean()
            axes.plot(mean.index, mean, color=colour, marker=marker, label=f"over={over}")
        names = one.drop_duplicates("index").sort_values("index").layer
        style.depth_axis(axes, list(names))
        axes.axvline(6.5, color="0.6", lw=0.6, zorder=0)
        axes.set_title(title)
        axes.set_ylabel("equivariance")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle(f"CNN-7, quarter turns, {seeds} seed{'s' * (seeds > 1)}; pooling at the line", fontsize=8)
    return figure


def tables(layers: pd.DataFrame, seeds: int, cifar: pd.DataFrame) -> str:
    """Scores by layer for each task and reading; the papers' statements, reading by reading; ResNet-44."""
    names = list(layers.drop_duplicates("index").sort_values("index").layer)
    head = f"CNN-7 after 100 epochs, {seeds} seed{'s' * (seeds > 1)}, mean over the three quarter turns:\n\n"
    lines = [f"| task | score | over | {' | '.join(names)} |", "|---|---|---|" + "---|" * len(names)]
    for score in ("equivariance", "invariance"):
        for task, title in TASKS.items():
            for over in OVER:
                one = layers[(layers.dataset == task) & (layers.over == over) & (layers.score == score)]
                mean = one.groupby("layer").value.mean()
                lines.append(
                    f"| {title} | {score} | `{over}` | " + " | ".join(f"{mean[n]:.2f}" for n in names) + " |"
                )
    statements = ["", "The papers' statements, in how many networks each holds:", ""]
    statements += [
        "| over | equivariance falls in every block until pooling (Spearman's rho, mean) | "
        "the largest step of Rot-Inv and Rot-Eq comes after pooling |",
        "|---|---|---|",
    ]
    for over in OVER:
        found = layers[(layers.over == over) & (layers.score == "equivariance")]
        networks = [one.sort_values("index") for _, one in found.groupby(["dataset", "seed"])]
        blocks = [one[one.part.isin(BEFORE_POOLING)].value.to_numpy() for one in networks]
        rho = [spearmanr(range(len(each)), each).statistic for each in blocks]
        falls = sum((each[1:] < each[:-1]).all() for each in blocks)
        turned = [one for one in networks if one.dataset.iloc[0] in TURNED]
        steps = [one[~one.part.eq("final")].value.diff().to_numpy() for one in turned]
        late = sum(step[-1] == max(step[1:]) for step in steps)
        statements.append(
            f"| `{over}` | {falls} of {len(blocks)} ({sum(rho) / len(rho):.2f}) | {late} of {len(steps)} |"
        )
    return head + "\n".join([*lines, *statements, "", *resnet(cifar)]) + "\n"


def resnet(cifar: pd.DataFrame) -> list[str]:
    """ResNet-44 under 90 degrees: the mean over the last stage's blocks."""
    late = cifar[(cifar.similarity == "pearson") & cifar.part.eq("late") & cifar.trained.astype(bool)]
    networks = sorted(late.model.unique())
    lines = [
        "ResNet-44 on CIFAR-10, trained by others, 90 degrees, mean of the late blocks, invariance / equivariance:",
        "",
        f"| over | {' | '.join(networks)} |",
        "|---|" + "---|" * len(networks),
    ]
    for over in OVER:
        mean = late[late.over == over].groupby(["model", "score"]).value.mean()
        cells = [f"{mean[model, 'invariance']:.2f} / {mean[model, 'equivariance']:.2f}" for model in networks]
        lines.append(f"| `{over}` | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
