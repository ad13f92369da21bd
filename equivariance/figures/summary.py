"""A measurement as a short table for the terminal: layers by scores, with chance levels, intervals and warnings."""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from equivariance.names import ELEMENTS, NESTED
from equivariance.rows import by_layer, completed, few_images, of_first_over

INTERPOLATED = 0.9  # a control below it: interpolation takes part in the score
FELT = {"agreement": "predicted class stays", "top1": "top-1"}
MEANING = {  # of a score, in words
    "invariance": "of the same channel",
    "equivariance": "of the most similar one",
    "linear": "of the best linear map of all",
}


class Summary(str):
    """A text that a notebook or a prompt shows as it is."""

    __repr__ = str.__str__


def summary(table: pd.DataFrame) -> Summary:
    """The scores of each layer in percent, their 95 % intervals and chance levels, means over the elements.

    Marked are scores that are no more than chance (`≈ chance`: the chance level lies in the interval; `< chance`:
    it lies above). Below, what becomes of the predicted classes, and where the images are too few or interpolation
    takes part.

    Args:
        table: rows of one network, from `measure`, `Equivariance.compute` or results.csv.

    Raises:
        UserError: these are no such rows.
    """
    table = of_first_over(completed(table))
    return Summary("\n".join("\n".join(_lines(of)) for _, of in table.groupby("transform", sort=False)))


def _lines(rows: pd.DataFrame) -> Iterator[str]:
    """The table of one transformation, and what is said above and below it."""
    layers = by_layer(rows)
    scores = [score for score in NESTED if score in set(rows.score)]
    kind = "cosine" if rows.similarity.iloc[0] == "cosine" else "correlation"
    yield f"mean {kind} of f(T x) and T f(x) in %; {'; '.join(f'{score}: {MEANING[score]}' for score in scores)}"
    yield f"T: {_transformation(rows)}; {int(rows.images.max())} images; chance: for pairs of different images"
    first = layers[layers.score == scores[0]]
    columns = [("layer", first.layer.tolist()), ("part", first.part.tolist())]
    for score in scores:
        columns += _columns(score, layers[layers.score == score])
    table = pd.DataFrame(dict(enumerate(cells for _, cells in columns)))
    yield table.to_string(index=False, header=[name for name, _ in columns])
    yield from _predictions(rows)
    yield from rows.ended.dropna().unique()
    low = rows[rows.control < INTERPOLATED]
    if len(low):
        one = low.loc[low.control.idxmin()]
        yield (
            f"control below {INTERPOLATED:.0%} in {len(low)} of {len(rows)} rows (lowest {one.control:.1%}: "
            f"{one.layer} at {_word(one.element)}): interpolation takes part in these scores"
        )
    if few := few_images(rows):
        yield few


def _columns(score: str, of: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """The columns of one score: value, interval, chance, control and mark, those that say something."""
    low, high = of.low.fillna(of.value), of.high.fillna(of.value)
    marks = np.select([of.chance.isna() | (low > of.chance), high < of.chance], ["", "< chance"], "≈ chance")
    columns = [(score, _percent(of.value))]
    if of.low.notna().any():
        ends = zip(_percent(of.low), _percent(of.high), strict=True)
        columns += [("95 %", [f"{a} to {b}" for a, b in ends])]
    columns += [("chance", _percent(of.chance))]
    columns += [("control", _percent(of.control))] if of.control.notna().any() else []
    return columns + ([("", marks.tolist())] if marks.any() else [])


def _predictions(rows: pd.DataFrame) -> Iterator[str]:
    """What a user feels: the shares of images whose predicted class stays, and is right."""
    final = rows[rows.agreement.notna()].drop_duplicates("element")
    kept = {column: words for column, words in FELT.items() if final[column].notna().any()}
    if kept:
        cells = [_percent(final[column]) + _percent(final[f"{column}_worst"].iloc[:1]) for column in kept]
        yield pd.DataFrame(cells, [f"{words}, % of images" for words in kept.values()]).to_string(
            header=[*map(_word, final.element), "at all of them"]
        )


def _transformation(rows: pd.DataFrame) -> str:
    """Such as "rotation by 90, 180, 270 degrees"."""
    name = rows["transform"].iloc[0]
    unit = re.search(r"\((.*)\)", ELEMENTS.get(name, ""))
    return f"{name} by {', '.join(map(_word, rows.element.unique()))}{f' {unit[1]}' if unit else ''}"


def _word(element: float | str) -> str:
    return element if isinstance(element, str) else f"{element:g}"


def _percent(values: "pd.Series[float]") -> list[str]:
    return ["-" if pd.isna(value) else f"{100 * value:.1f}" for value in values]
