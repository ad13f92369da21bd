"""Draw equivariance against accuracy from leaderboard.csv, one dot a network, coloured by family."""

import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
from equivariance import plots
from equivariance.correlation import rank_correlation

SCORES = {"equivariance": "equivariance, mean before pooling", "equivariance_final": "equivariance, logits"}


def main() -> None:
    board = pd.read_csv(HERE / "leaderboard.csv")
    board = board[board.equivariance.notna()]
    trained = bool(board.trained.all())
    most = board.family.value_counts()
    named = [family for family in most.index if most[family] > 1][: len(plots.COLOURS)]
    figure, panels = plots.plt.subplots(
        len(SCORES), 1, figsize=(plots.COLUMN, 2.3 * len(SCORES) + 0.6), layout="constrained"
    )
    for axes, (column, label) in zip(panels, SCORES.items(), strict=True):
        groups = [(family, board[board.family == family]) for family in named]
        groups.append(("other families", board[~board.family.isin(named)]))
        colours = [*plots.COLOURS[: len(named)], "0.55"]
        for (family, group), colour in zip(groups, colours, strict=True):
            axes.plot(group[column], 100 * group.top1, "o", color=colour, alpha=0.8, mew=0, label=family)
        found = rank_correlation(board[column], board.top1)
        axes.set_title(str(found), fontsize=7)
        axes.set_xlabel(label)
        axes.set_ylabel("top-1 accuracy (%)")
    kind = "pretrained" if trained else "untrained: accuracy is chance, 0.1 %"
    images = f"{int(board.images.min())} images"
    figure.suptitle(f"{len(board)} networks of timm, {board['transform'].iloc[0]}, {images}\n{kind}", fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=2, loc="outside lower center", fontsize=6)
    plots.save(figure, HERE / "figure", ("png", "svg"))
    print(f"drew {HERE / 'figure.png'} and .svg")


if __name__ == "__main__":
    main()
