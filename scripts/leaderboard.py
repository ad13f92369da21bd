"""One line a network: its scores, its accuracy, what measuring it took, or why it failed.

    python scripts/leaderboard.py NAME [overrides, as given to measure.py]

Reads the folders of the preset's measurements, as far as they are there; writes leaderboard.csv into
experiments/NAME/, or with overrides, which choose networks of one's own, into NAME/ in the folder of runs: most
equivariant networks first, failed ones last, with the mean over all layers of each part.
"""

from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.errors import UserError
from equivariance.files import write_atomic
from equivariance.names import BEFORE_POOLING, SCORES
from equivariance.study.cli import FAILED, command_line
from equivariance.study.cli import jobs as experiments
from equivariance.study.identity import measurement_folder

ENTRIES = ["model", "family", "trained", "transform", "images"]


def main(name: str, *overrides: str) -> None:
    from equivariance.study.models import library  # here, as it takes seconds that --help does not need

    lines, missing = [], []
    for cfg in experiments.jobs(name, "measure", overrides):
        folder = measurement_folder(cfg)
        known = {"model": cfg.model.name, "family": library.family(cfg.model.get("architecture") or cfg.model.name)}
        if (folder / "results.csv").exists():
            lines.append(known | measured(folder))
        elif (folder / FAILED).exists():
            lines.append(known | {"transform": cfg.measure.name, "failed": (folder / FAILED).read_text().strip()})
        else:
            missing.append(cfg.model.name)
    if missing:
        print(f"not measured yet: {', '.join(dict.fromkeys(missing))}")
    if not lines:
        raise UserError(f"nothing of experiment {name} is measured: python measure.py experiment={name}")
    board = pd.DataFrame(lines)
    board = board[sorted(board, key=lambda column: column not in ENTRIES)]
    if "equivariance" in board:
        board = board.sort_values("equivariance", ascending=False, kind="stable", na_position="last")
    target = experiments.target(name, overrides) / "leaderboard.csv"
    text = board.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_atomic(target, text)
    failed = int(board.failed.notna().sum()) if "failed" in board else 0
    print(f"{len(board) - failed} measurements and {failed} failed ones in {target}")
    print(f"its figure: python scripts/figures.py {name} {target.parent}")


def measured(folder: Path) -> dict[str, float | str | bool]:
    """Scores by part (mean over elements, then layers), and what `cost.csv` holds."""
    table = rows.read(folder / "results.csv")
    line = {column: table[column].iloc[0] for column in ("trained", "transform", "images")}
    scores = rows.by_layer(rows.of_first_over(rows.of_last_epoch(table)))
    before = scores[scores.part.isin(BEFORE_POOLING)]
    for measure in reversed(SCORES):
        of = before[before.score == measure]
        line |= {measure: of.value.mean(), f"{measure}_chance": of.chance.mean()}
        ends = scores[(scores.score == measure) & scores.part.isin(("pool", "final"))]
        line |= {f"{measure}_{part}": value for part, value in zip(ends.part, ends.value, strict=True)}
    cost = folder / "cost.csv"
    return line | (pd.read_csv(cost).iloc[0].to_dict() if cost.exists() else {})


if __name__ == "__main__":
    command_line(main)
