"""Draw equivariance against accuracy from leaderboard.csv, one dot a network, coloured by family."""

from pathlib import Path

import pandas as pd

from equivariance.analysis import plots
from equivariance.analysis.correlation import rank_correlation
from equivariance.errors import UserError

HERE = Path(__file__).resolve().parent
SCORES = {"equivariance": "equivariance, mean before pooling", "equivariance_final": "equivariance, logits"}
OTHERS = {"family": "other families", "architecture": "other architectures"}


def main(folder: Path = HERE, colour_by: str = "family") -> None:
    """Draw figure.{png,svg}: a row of panels a score, a column a transformation.

    Args:
        folder: of the experiment.
        colour_by: "family", or "architecture": the name of a network without the tag of its weights.

    Raises:
        UserError: there is no leaderboard, or no network of it has scores and an accuracy.
    """
    file = folder / "leaderboard.csv"
    if not file.exists():
        raise UserError(f"no {file}: python scripts/leaderboard.py {folder.name} writes it")
    board = pd.read_csv(file)
    board = board.assign(architecture=board.model.str.partition(".")[0])
    if not {*SCORES, "top1"} <= {*board}:
        raise UserError(f"{file} has no network with scores and an accuracy")
    board = board[board.equivariance.notna() & board.top1.notna()]
    most = board.drop_duplicates("model")[colour_by].value_counts()
    named = [name for name in most.index if most[name] > 1][: len(plots.COLOURS)]
    transforms = sorted(board["transform"].unique())
    figure, panels = plots.plt.subplots(
        len(SCORES),
        len(transforms),
        figsize=(plots.COLUMN, 2.3 * len(SCORES) + 0.6),
        layout="constrained",
        sharex="row" if len(transforms) > 1 else False,
        sharey=len(transforms) > 1,
        squeeze=False,
    )
    for row, (column, label) in zip(panels, SCORES.items(), strict=True):
        for axes, transform in zip(row, transforms, strict=True):
            one = board[board["transform"] == transform]
            groups = [(name, one[one[colour_by] == name]) for name in named]
            groups.append((OTHERS[colour_by], one[~one[colour_by].isin(named)]))
            for (name, group), colour in zip(groups, [*plots.COLOURS[: len(named)], "0.55"], strict=True):
                if len(group):
                    axes.plot(group[column], 100 * group.top1, "o", color=colour, alpha=0.8, mew=0, label=name)
            found = str(rank_correlation(one[column], one.top1))
            if len(transforms) > 1:  # panels of half the width
                found, label = f"{transform}\n" + found.replace("], ", "]\n"), label.replace(", ", ",\n")
            axes.set_title(found, fontsize=7)
            axes.set_xlabel(label)
        row[0].set_ylabel("top-1 accuracy (%)")
    kind = "pretrained" if board.trained.all() else "untrained: accuracy is chance, 0.1 %"
    size = f"{', '.join(transforms)}, {int(board.images.min())} images"
    figure.suptitle(f"{board.model.nunique()} networks of timm, {size}\n{kind}", fontsize=8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=2, loc="outside lower center", fontsize=6)
    plots.save(figure, folder / "figure", ("png", "svg"))
    print(f"drew {folder / 'figure.png'} and .svg")


if __name__ == "__main__":
    main()
