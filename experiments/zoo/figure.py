"""The networks of leaderboard.csv: accuracy against equivariance, or, untrained, equivariance by family."""

from pathlib import Path

import pandas as pd

from equivariance.errors import UserError
from equivariance.figures import style
from equivariance.study.figures import legend, plot_accuracy

SHOWN = {"equivariance": "equivariance before pooling", "equivariance_final": "equivariance, logits"}


def figures(folder: Path, colour_by: str = "family") -> dict[str, style.Figure]:
    """One dot a network.

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
    if not {*SHOWN, "top1"} <= {*board}:
        raise UserError(f"{file} has no network with scores and an accuracy")
    board = board[board.equivariance.notna()]
    size = f"{', '.join(sorted(board['transform'].unique()))}, {int(board.images.min())} images"
    if not board.trained.astype(bool).all():
        title = f"{board.model.nunique()} untrained networks of timm\n{size}"
        return {"figure": by_family(board, colour_by, title)}
    board = board[board.top1.notna()].rename(columns={"top1": "accuracy"})
    title = f"{board.model.nunique()} networks of timm, {size}\npretrained"
    return {"figure": plot_accuracy(board, SHOWN, colour_by, title=title)}


def by_family(board: pd.DataFrame, colour_by: str, title: str) -> style.Figure:
    """A line for each family, a dot for each network: their accuracies are chance, and say nothing."""
    order = board.groupby(colour_by).equivariance.mean().sort_values().index
    y = board[colour_by].map({name: index for index, name in enumerate(order)})
    figure, ((axes,),) = style.panels(1, 1, 0.17 * len(order), 1.2)
    axes.plot(board.equivariance_chance, y, "|", color=style.GREY, ms=5, label="chance before pooling")
    axes.plot(board.equivariance, y, "o", color=style.COLOURS[0], alpha=0.8, mew=0, label="before pooling")
    axes.plot(board.equivariance_final, y, "D", color=style.COLOURS[1], mfc="none", ms=3, label="logits")
    axes.set_yticks(range(len(order)), order, fontsize=6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("equivariance")
    legend(figure, ncols=3, fontsize=6)
    figure.suptitle(title)
    return figure
