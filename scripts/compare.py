"""Draw any measurements in one figure, and print their values as a table.

    python scripts/compare.py RUN [RUN ...] [--by depth|part|element|epoch|width] [--score invariance|equivariance]
        [--over image|dataset|...] [--minus aug=none] [--out runs/compare.png]

RUN is a folder, all of whose measurements are taken, or a file of rows (results.csv). Curves are named by whatever
differs between them, seeds are a band, dotted lines chance levels. --by element and epoch draw a panel for each
part of the network. --over chooses readings of the measure (`image,dataset` for two); without it, the first one
that all measurements have. --minus subtracts one network's scores, seed by seed. --out ends in .png, .svg or .pdf;
the values are written beside it as .csv, and printed as a table of Markdown; by depth, of networks with other
layers than each other, the means over each part.
"""

from equivariance.study.cli import answer_help, command_line

answer_help(__name__, __doc__)  # before what takes seconds is imported

import argparse
import sys
from pathlib import Path
from typing import NoReturn

import pandas as pd
import yaml

from equivariance import rows
from equivariance.errors import UserError
from equivariance.figures import compare
from equivariance.names import OVER
from equivariance.study.config import REPOSITORY
from equivariance.study.figures import save
from equivariance.study.tables import compared, write_csv

FORMATS = ("png", "svg", "pdf")


def main(*words: str) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.error = refuse
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--by", default="depth")
    parser.add_argument("--score", default=None)
    parser.add_argument("--over", default=None)
    parser.add_argument("--minus", default=None)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "runs/compare.png")
    given = parser.parse_args(words)
    if given.out.suffix.removeprefix(".") not in FORMATS:
        raise UserError(f"--out {given.out}: needs the ending {', '.join('.' + each for each in FORMATS)}")
    tables, minus = of_readings(tables_of(given.runs), given.over), baseline(given.minus)
    if compare.told_apart(pd.concat(tables.values())):
        tables = [*tables.values()]
    else:
        tables = dict(zip(without_common_folders(list(tables)), tables.values(), strict=True))
    figure = compare.plot_compare(tables, given.by, given.score, minus)
    save(figure, given.out, (given.out.suffix.removeprefix("."),))
    table = compare.values(tables, given.by, given.score, minus)
    write_csv(given.out.with_suffix(".csv"), table, 6)
    if given.by == "depth" and not has_shared_places(table):  # no two layers in one line: parts are
        table = compare.values(tables, "part", given.score, minus)
    print(compared(table))
    print(f"\nfigure: {given.out}; values: {given.out.with_suffix('.csv')}", file=sys.stderr)


def without_common_folders(paths: list[str]) -> list[str]:
    """What tells paths apart: "runs/a/measure/rotation", "runs/b/measure/rotation" are "a" and "b"."""
    split = [path.split("/") for path in paths]
    for end in (0, -1):
        while min(map(len, split)) > 1 and len({parts[end] for parts in split}) == 1:
            for parts in split:
                parts.pop(end)
    return ["/".join(parts) for parts in split]


def has_shared_places(table: pd.DataFrame) -> bool:
    """Whether the numbers of all curves stand at the same places, as those of layers with other names do not."""
    scores = table[table.kind == "score"]
    return len({frozenset(zip(one.name, one.x, strict=True)) for _, one in scores.groupby("label")}) == 1


def refuse(message: str) -> NoReturn:
    """Words that are no arguments of this script."""
    raise UserError(f"{message}; --help explains the arguments")


def tables_of(runs: list[Path]) -> dict[str, pd.DataFrame]:
    """The rows of each file or folder, by their place."""
    files: dict[str, Path] = {}
    for run in runs:
        found = sorted(run.rglob("results.csv")) if run.is_dir() else [run]
        if not found:
            raise UserError(f"{run} has no measurement: python measure.py run={run} makes one of a training")
        files |= {str(file.parent if file.name == "results.csv" else file): file for file in found}
    return {name: rows.read(file) for name, file in files.items()}


def of_readings(tables: dict[str, pd.DataFrame], over: str | None) -> dict[str, pd.DataFrame]:
    """The rows of these readings, separated by commas; None: of the first one that every table has.

    Raises:
        UserError: there is no such reading, or no rows of it.
    """
    known = [reading for reading in OVER if any(reading in set(table.over) for table in tables.values())]
    common = [reading for reading in known if all(reading in set(table.over) for table in tables.values())]
    chosen = over.split(",") if over else common[:1] or known
    if not {*chosen} <= {*known}:
        raise UserError(f"--over {over}: choose {', '.join(known)}")
    return {name: table[table.over.isin(chosen)] for name, table in tables.items()}


def baseline(text: str | None) -> dict[str, object] | None:
    """Such as "aug=none"; numbers are numbers."""
    if text is None:
        return None
    column, equals, value = text.partition("=")
    if not equals or column not in compare.VARIES:
        raise UserError(f"--minus {text}: give one of {', '.join(compare.VARIES[1:])}, such as aug=none")
    return {column: yaml.safe_load(value)}


if __name__ == "__main__":
    command_line(main)
