"""Numbers as text, for pages and papers: tables and sentences; and tables of pandas in files."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from equivariance.files import write_atomic
from equivariance.names import NESTED, PARTS


def write_csv(path: Path, table: pd.DataFrame, digits: int = 5) -> None:
    """Write a table whole or not at all, without its index; numbers have so many digits behind the point."""
    write_atomic(path, table.to_csv(index=False, float_format=f"%.{digits}f", lineterminator="\n"))


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown; floats with two digits, NaN as a dash."""
    lines = [f"| {' | '.join(map(_cell, row))} |\n".replace("|  |", "| |") for row in (head, *rows)]
    return "".join([lines[0], "|" + "---|" * len(head) + "\n", *lines[1:]])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if value != value else f"{value:.2f}"
    return " ".join(str(value).replace("|", "\\|").split())


def named(values: Mapping[Any, str] | Iterable[Any]) -> Mapping[Any, Any]:
    """Values with their names, which are they themselves if none are given."""
    return values if isinstance(values, Mapping) else {each: each for each in values}


def crossed(
    table: pd.DataFrame,
    lines: Mapping[str, Iterable],
    across: Mapping[str, Iterable],
    cell: str = "{value:.2f}",
    head: Sequence[str] = (),
) -> str:
    """A table of Markdown: a line for each combination of values that has rows, a dash for what is missing.

    Args:
        table: a row for each cell.
        lines: columns of the table and their values in order; a mapping gives the values names.
        across: the column whose values stand side by side, and these values.
        cell: the contents, as a format of the columns of a row.
        head: what stands above `lines`, if not the names of the columns.
    """
    *keys, shown = map(named, (*lines.values(), *across.values()))
    cells = {
        tuple(row[key] for key in (*lines, *across)): cell.format(**row).replace("nan", "–")
        for row in table.to_dict("records")
    }
    found = [
        [*names, *(cells.get((*key, each), "–") for each in shown)]
        for key, names in (zip(*each, strict=True) for each in product(*(values.items() for values in keys)))
        if any((*key, each) in cells for each in shown)
    ]
    return markdown([*(head or lines), *shown.values()], found)


def extend(path: Path, key: Sequence[str], missing: Iterable[tuple[tuple, Callable[[], pd.DataFrame]]]) -> None:
    """Add rows to a table in a file, for each key that it does not have; written after each, to go on from there.

    Args:
        path: of the file, which need not be there.
        key: columns.
        missing: their values, and what makes the rows.
    """
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=[*key])
    for values, make in missing:
        if values not in set(table[[*key]].itertuples(index=False, name=None)):
            rows = make()
            table = pd.concat([table, rows]) if len(table) else rows
            write_csv(path, table)
            print(f"{dict(zip(key, values, strict=True))}: {len(rows)} rows", flush=True)


def over_seeds(groups: Any) -> pd.DataFrame:
    """Of numbers by seed, grouped by all else: columns mean, half of its 95 % t interval, and count."""
    found = groups.agg(["mean", "sem", "count"]).reset_index()
    return found.assign(half=stats.t.ppf(0.975, found["count"] - 1) * found["sem"])


def compared(table: pd.DataFrame) -> str:
    """The numbers of `compare.values` as a table of Markdown: a row for each place, a column for each curve.

    Mean and deviation over seeds, or of one seed its interval over images; in brackets the curve's own chance.
    """
    table = table[table.kind != "chance"]
    columns = (table[column].map("{:.3f}".format) for column in ("mean", "deviation", "low", "high", "chance"))
    mean, deviation, low, high, chance = columns
    one = (mean + " [" + low + ", " + high + "]").where(table.low.notna(), mean)
    text = one.where(table.seeds == 1, mean + " ± " + deviation)
    text = (text + " (" + chance + ")").where(table.chance.notna(), text)
    x = table.name.where(table.name != "", table.x.map(lambda each: each if isinstance(each, str) else f"{each:g}"))
    words = zip(table.score, table.part, x, strict=True)
    table = table.assign(text=text, place=[" ".join(dict.fromkeys(filter(None, each))) for each in words])
    ranks = {
        "score": table.score.map(NESTED.index),
        "part": table.part.map(lambda part: PARTS.index(part) if part in PARTS else 0),
        "number": pd.to_numeric(table.x, errors="coerce"),  # layers, elements, epochs and widths in their order
    }
    order = table.assign(**ranks).sort_values(list(ranks), kind="stable").place.unique()
    wide = table.drop_duplicates(["place", "label"]).pivot(index="place", columns="label", values="text")
    wide = wide.reindex(order)[list(dict.fromkeys(table.label))].fillna("")
    return markdown(["", *wide.columns], wide.reset_index().to_numpy())


def sentence(drop: "pd.Series[float]") -> str:
    """Such as "block 15: invariance falls by 0.24 (stride 2 to 4)", of a row of `score_drops`."""
    verb = "falls" if drop["drop"] >= 0 else "rises"
    strides = ""
    if drop.stride_before != drop.stride and not (math.isnan(drop.stride) or math.isnan(drop.stride_before)):
        strides = f" (stride {drop.stride_before:g} to {drop.stride:g})"
    return f"{drop.layer}: {drop.score} {verb} by {abs(drop['drop']):.2f}{strides}"
