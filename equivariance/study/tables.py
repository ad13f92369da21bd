"""Numbers as text, for pages and papers: tables and sentences."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from equivariance.names import NESTED, PARTS


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown; floats with two digits, NaN as a dash."""
    lines = [list(head), ["---"] * len(head), *([_cell(each) for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if value != value else f"{value:.2f}"
    return str(value)


def compared(table: pd.DataFrame) -> str:
    """The numbers of `compare.values` as a table of Markdown: a row for each place, a column for each curve."""
    wide = _wide(table)
    return markdown(["", *wide.columns], wide.reset_index().to_numpy())


def compared_latex(table: pd.DataFrame) -> str:
    """The same as a LaTeX table (booktabs)."""
    wide = _wide(table).rename_axis(index=None, columns=None)
    text = wide.to_latex(escape=True, column_format="l" + "r" * wide.shape[1])
    return text.replace("±", r"$\pm$").strip()


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers as text: a row for each score and place, a column for each curve.

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
    return wide.reindex(order)[list(dict.fromkeys(table.label))].fillna("")


def sentence(drop: "pd.Series[float]") -> str:
    """Such as "block 15: invariance falls by 0.24 (stride 2 to 4)", of a row of `score_drops`."""
    verb = "falls" if drop["drop"] >= 0 else "rises"
    strides = ""
    if drop.stride_before != drop.stride and not (math.isnan(drop.stride) or math.isnan(drop.stride_before)):
        strides = f" (stride {drop.stride_before:g} to {drop.stride:g})"
    return f"{drop.layer}: {drop.score} {verb} by {abs(drop['drop']):.2f}{strides}"
