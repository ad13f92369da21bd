"""Results as rows: one per layer, transformation and measure. Figures and verdicts read rows and nothing else."""

import io
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from equivariance.errors import UserError
from equivariance.files import write_atomic
from equivariance.names import COLUMNS, NESTED, OVER, PARTS, SIMILARITIES

MEASUREMENT = ["dataset", "model", "aug", "width", "trained", "seed", "transform", "similarity", "over", "epoch"]
KEY = [*MEASUREMENT, "layer", "element", "measure"]  # no two rows agree in all of these
FELT = ["agreement", "top1", "agreement_worst", "top1_worst"]
SHARES = [  # in [0, 1], or not known
    *("value", "cross_fitted", "chance", "low", "high", "control", *FELT, "live", "accuracy")
]
LATER = ["stride", "control", *FELT, "trained_on"]  # columns that older files do not have
WORDS = {"part": PARTS, "measure": NESTED, "similarity": SIMILARITIES, "over": OVER}
BRACKET = 0.02  # a wider gap between the ends of an equivariance: the plug-in value errs by some 0.01
INTERPOLATED = 0.9  # a control below it: interpolation takes part in the score
WHOLE = ["seed", "index", "images", "channels", "dead_channels"]  # numbers from 0 on


def write(path: Path, rows: pd.DataFrame) -> None:
    """Write rows, whole or not at all; values with six digits."""
    write_atomic(path, rows[COLUMNS].to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def read(path: Path) -> pd.DataFrame:
    """Read rows back, and check that they are what `write` wrote.

    Raises:
        UserError: there is no such file, or it was cut or edited: a column or row is missing, a row is there
            twice, a number or word is none that a measurement gives, or a cell begins with "=".
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"no rows in {path}: {getattr(error, 'strerror', 'it is no text')}") from error
    if not text.endswith("\n"):
        raise UserError(
            f"{path}, row {text.count(chr(10)) + 1}: the file ends in the middle of a row; collect it again"
        )
    try:
        rows = pd.read_csv(io.StringIO(text), keep_default_na=True, low_memory=False)
    except (ValueError, OverflowError) as error:  # of which pandas' own errors are
        raise UserError(f"{path} is no table of results: {' '.join(str(error).split())}") from error
    if "over" not in rows and set(COLUMNS) - set(rows) <= {"epoch", "over", "live", "cross_fitted", *LATER}:
        rows = _of_before_readings(rows)
    rows = _completed(rows)
    if missing := [column for column in COLUMNS if column not in rows]:
        raise UserError(f"{path} is no table of results: it has no column {', '.join(missing)}")
    if problem := _first_problem(rows):
        row, what = problem
        what = textwrap.shorten(what, 200, placeholder=" ...")
        raise UserError(f"{path}, row {row + 2}: {what}; the file was cut or edited, collect it again")
    return rows


def _first_problem(rows: pd.DataFrame) -> tuple[int, str] | None:
    """The place (from 0 on) of a row that no measurement gives, and what is wrong with it; None if all is well."""
    for column, wrong, what in _wrong_values(rows):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            return row, f"{column}={rows[column].iloc[row]} {what}"
    twice = rows.duplicated(KEY).to_numpy()
    if twice.any():
        one = rows.iloc[twice.argmax()]
        return int(twice.argmax()), f"{one.measure} of {one.model} {one.layer} at {one.element} is there twice"
    return _first_gap(rows)


def _wrong_values(rows: pd.DataFrame) -> Iterator[tuple[str, "pd.Series[bool]", str]]:
    """Columns, in which rows their value is none that a measurement gives, and what is wrong with it."""
    for column in rows.columns[[pd.api.types.is_string_dtype(kind) for kind in rows.dtypes]]:
        yield column, rows[column].astype(str).str.startswith("="), "begins with '=', which a spreadsheet would run"
    if not pd.api.types.is_bool_dtype(rows.trained):
        yield "trained", ~rows.trained.astype(str).isin(("True", "False")), "is neither True nor False"
    for column, words in WORDS.items():
        yield column, ~rows[column].isin(words), f"is none of {', '.join(words)}"
    for column in [*SHARES, *WHOLE]:
        known, numbers = rows[column].notna(), pd.to_numeric(rows[column], errors="coerce")
        if column in SHARES:
            yield column, known & ~numbers.between(0, 1), "is no number in [0, 1]"
        else:
            yield column, ~((numbers >= 0) & (numbers % 1 == 0)), "is no whole number from 0 on"


def _first_gap(rows: pd.DataFrame) -> tuple[int, str] | None:
    """The first row of a layer whose scores under some elements are not there."""
    if rows.empty:
        return None
    there = rows.groupby(MEASUREMENT, dropna=False, sort=False)
    each = rows.groupby([*MEASUREMENT, "layer"], dropna=False, sort=False)
    pairs = rows.element.astype(str) + " " + rows.measure
    expected = pairs.groupby(there.ngroup()).transform("nunique")
    found = each.layer.transform("size")
    lacking = (found != expected).to_numpy()
    if not lacking.any():
        return None
    place = int(lacking.argmax())
    one = rows.iloc[place]
    return place, f"{one.model} {one.layer} has {found.iloc[place]} of its {expected.iloc[place]} scores"


def is_trained(rows: pd.DataFrame) -> pd.Series:
    """Whether a row is of a trained network: neither at initialisation nor the epoch 0 of a training."""
    return rows.trained.astype(bool) & ~(rows.epoch == 0)


def of_last_epoch(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of networks after their last epoch, or of whose training nothing is known."""
    return rows[rows.epoch.isna() | (rows.epoch == rows.epochs)]


def _completed(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the columns that older ones do not have, empty."""
    return rows.assign(**{column: float("nan") for column in LATER if column not in rows})


def _of_before_readings(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows from before there were readings: all ran over the data set, or took each image's maximum."""
    each_image = rows.similarity == "per_image"
    dead, channels = (pd.to_numeric(rows[key], errors="coerce") for key in ("dead_channels", "channels"))
    return rows.assign(
        epoch=rows.get("epoch", rows.epochs),
        over=each_image.map({True: "image_max", False: "dataset"}),
        similarity=rows.similarity.where(~each_image, "pearson"),
        live=1 - dead / channels,
        cross_fitted=float("nan"),
    )


def of_one_reading(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the first reading of the measure, in the order of `names.OVER`, that there are rows of."""
    return rows[rows.over == min(rows.over, key=OVER.index)] if len(rows) else rows


def by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over elements: one row per measurement, layer and score, in the order of the layers."""
    keys = [*MEASUREMENT, "index", "layer", "part", "measure"]
    scores = ["value", "cross_fitted", "chance", "low", "high", "control", "stride", "dead_channels"]
    return _completed(rows).groupby(keys, dropna=False, sort=False)[scores].mean().reset_index()


def by_part(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over elements, then layers: one row per measurement, part and score."""
    keys = [*MEASUREMENT, "part", "measure"]
    how = {"value": "mean", "chance": "mean", "accuracy": "first"}  # a mean of equal ones need not equal them
    layers = rows.groupby([*keys, "index"], sort=False, dropna=False).agg(how)
    return layers.groupby(keys, sort=False, dropna=False).agg(how).reset_index()


def summary(rows: pd.DataFrame) -> str:
    """A short table of one measurement for the terminal: the scores and their chance level, layer by layer.

    The control of the scores stands beside them where they were interpolated. Below, what becomes of the predicted
    classes, how many rows' control is low, and both ends of an equivariance where there are too few images for one.
    """
    return "\n".join(_summary(of) for _, of in _completed(rows).groupby("transform", sort=False))


def _summary(rows: pd.DataFrame) -> str:
    kinds = {"value": "", "chance": "(chance)"} | ({"control": "(control)"} if rows.control.notna().any() else {})
    wide = by_layer(rows).pivot(index=["index", "layer", "part"], columns="measure", values=list(kinds))
    columns = [(score, kind) for score in NESTED if score in set(rows.measure) for kind in kinds]
    table = pd.DataFrame({place: wide[place[::-1]].map("{:.3f}".format) for place in columns})
    table.columns = [kinds[kind] or score for score, kind in columns]
    lines = [
        table.reset_index().drop(columns="index").to_string(index=False),
        *_felt(rows),
        *_interpolated(rows),
        *_few_images(rows),
    ]
    return "\n".join(lines)


def _felt(rows: pd.DataFrame) -> Iterator[str]:
    """What a user feels: the shares of images whose predicted class stays, and is right."""
    final = rows[rows.agreement.notna()].drop_duplicates("element")
    for column, words in (("agreement", "predicted class stays"), ("top1", "top-1")):
        if final[column].notna().any():
            each = ", ".join(f"{row.element} {row[column]:.3f}" for _, row in final.iterrows())
            yield f"{words} under {each}; under all at once {final[f'{column}_worst'].iloc[0]:.3f}"


def _few_images(rows: pd.DataFrame) -> Iterator[str]:
    """A line for each layer whose equivariance hangs on too few images, with both of its ends and their middle."""
    layers = by_layer(rows[rows.measure == "equivariance"])
    wide = layers[layers.value - layers.cross_fitted > BRACKET]
    if len(wide):
        yield f"too few images to quote the equivariance of {len(wide)} of {len(layers)} layers; it lies between"
    for _, row in wide.iterrows():
        middle = (row.value + row.cross_fitted) / 2
        yield f"  {row.layer}: {row.cross_fitted:.3f} (cross-fitted) and {row.value:.3f}, middle {middle:.3f}"


def _interpolated(rows: pd.DataFrame) -> Iterator[str]:
    """A line where interpolation takes part in scores."""
    low = rows[rows.control < INTERPOLATED]
    if len(low):
        one = low.loc[low.control.idxmin()]
        yield (
            f"control below {INTERPOLATED} in {len(low)} of {len(rows)} rows (lowest {one.control:.2f}: "
            f"{one.layer} at {one.element}): interpolation takes part in these scores"
        )
