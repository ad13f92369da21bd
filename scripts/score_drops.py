"""Say where in a network its equivariance is lost: the blocks over which each score falls most.

    python scripts/score_drops.py RUN [RUN ...]

RUN is a folder, all of whose measurements are taken, or a file of rows (results.csv). Of each measurement it prints
the drops of each score from a block to the next, the largest first, and writes all of them beside results.csv as
score_drops.csv.
"""

from pathlib import Path

from equivariance import rows
from equivariance.errors import UserError
from equivariance.figures.score_drops import score_drops
from equivariance.study.cli import command_line
from equivariance.study.tables import sentence, write_csv
from scripts.compare import tables_of

SHOWN = 3  # sentences a score


def main(*runs: str) -> None:
    if not runs:
        raise UserError("give the folder of a run; --help explains the arguments")
    for place, table in tables_of([Path(run) for run in runs]).items():
        measured = rows.of_first_over(rows.of_last_epoch(table))
        for key, one in measured.groupby(rows.MEASUREMENT, dropna=False, sort=False):
            known = dict(zip(rows.MEASUREMENT, key, strict=True))
            trained = "trained" if known["trained"] else "untrained"
            print(f"{place}: {known['model']}, {trained}, {known['transform']}")
            found = score_drops(one)
            for _, of in found.groupby("score", sort=False):
                print("\n".join(f"  {sentence(drop)}" for _, drop in of.head(SHOWN).iterrows()))
            folder = Path(place)
            if folder.is_dir():
                write_csv(folder / "score_drops.csv", found, 6)


if __name__ == "__main__":
    command_line(main)
