"""Results as rows: one per layer, transformation and score. Figures and verdicts read rows and nothing else."""

import hashlib
import io
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from equivariance.errors import UserError
from equivariance.files import write_atomic
from equivariance.names import COLUMNS, NAME_NEEDS, NESTED, OVER, PARTS, SIMILARITIES, is_name

MEASUREMENT = ["dataset", "model", "aug", "width", "trained", "seed", "transform", "similarity", "over", "epoch"]
KEY = [*MEASUREMENT, "layer", "element", "score"]  # no two rows agree in all of these
PROVENANCE = ["epochs", "accuracy", "precision", "trained_on", "git_commit", "torch_version", "hardware", "ended"]
RUN = ["experiment", *MEASUREMENT, *PROVENANCE]  # the same in all rows of a run
SCORED = [column for column in COLUMNS if column not in RUN]
NAMES = ["experiment", "dataset", "model", "aug", "transform", "layer"]
TEXT = [*NAMES, "part", "score", "similarity", "over", *PROVENANCE[2:], "run"]
FELT = ["agreement", "top1", "agreement_worst", "top1_worst"]
# In [0, 1], or not known.
SHARES = ["value", "cross_fitted", "chance", "low", "high", "control", *FELT, "live", "accuracy"]
LATER = ["stride", "control", *FELT, "trained_on", "ended"]  # columns that older files do not have
WORDS = {"part": PARTS, "score": NESTED, "similarity": SIMILARITIES, "over": OVER}
FEW = 50  # images: with fewer no score is quoted
BRACKET = 0.02  # a wider gap between the ends of an equivariance: the plug-in value errs by some 0.01
WHOLE = ["seed", "index", "images", "channels", "dead_channels"]  # numbers from 0 on


def runs_file(path: Path) -> Path:
    """Where the runs of the rows in `path` stand: results.runs.csv beside results.csv."""
    return path.with_suffix(".runs.csv")


def write(path: Path, rows: pd.DataFrame) -> None:
    """Write rows with the columns `names.COLUMNS`; values with six digits.

    What is the same in all rows of a run (network, transformation, provenance) is written once, into `runs_file`;
    the column `run` of both files joins them. It is a digest of the run's line, so that two files which do not
    belong together, or an edited one, are noticed; the number of a run's rows stands beside it.

    Raises:
        UserError: a name is none, see `names.is_name`.
    """
    rows = rows[COLUMNS].assign(accuracy=rows.accuracy.astype(float).round(6))
    for column in NAMES:
        for name in rows[column].dropna().unique():
            if not is_name(str(name)):
                raise UserError(f"{column}={name}: {NAME_NEEDS}; no rows are written")
    groups = rows.groupby(RUN, dropna=False, sort=False)
    runs = groups.head(1)[RUN].assign(rows=groups.size().to_numpy())
    runs = runs.drop(columns="ended") if runs.ended.isna().all() else runs  # as files were before there was `until`
    lines = _csv(runs).splitlines()
    keys = np.array([_digest(line) for line in lines[1:]])
    text = "".join(f"{key},{line}\n" for key, line in zip(["run", *keys], lines, strict=True))
    scores = rows[SCORED]
    scores.insert(0, "run", keys[groups.ngroup()] if len(rows) else [])
    write_atomic(runs_file(path), text)
    write_atomic(path, _csv(scores))


def _csv(table: pd.DataFrame) -> str:
    """A table as text; whole numbers without a point, so that a missing one does not change the others."""
    floats = table.columns[[kind.kind == "f" for kind in table.dtypes]]
    whole = {column: "Int64" for column in floats if (table[column].dropna() % 1 == 0).all()}
    return table.astype(whole).to_csv(index=False, float_format="%.6f", lineterminator="\n")


def _digest(line: str) -> str:
    return hashlib.blake2b(line.encode(), digest_size=4).hexdigest()


def read(path: Path | str) -> pd.DataFrame:
    """Read rows back, and check that they are what `write` wrote, or what it wrote before there were two files.

    Raises:
        UserError: there is no such file, or it was cut or edited: a column or row is missing, a row is there
            twice, or a number, word or name is none that a measurement gives.
    """
    path = Path(path)
    rows = _table(path)
    if "run" not in rows:  # all in one file
        rows = rows.rename(columns={"measure": "score"}) if "score" not in rows else rows
        rows = rows.assign(**{name: float("nan") for name in LATER if name not in rows})
        return _distinct(path, _checked(path, rows, COLUMNS))
    about = runs_file(path)
    runs = _table(about)
    runs = runs if "ended" in runs else runs.assign(ended=pd.Series(dtype=str))
    rows, runs = _checked(path, rows, SCORED), _checked(about, runs, [*RUN, "run", "rows"])
    for place, line in enumerate(about.read_text().splitlines()[1:]):
        key, _, rest = line.partition(",")
        if key != _digest(rest) or key in runs.run.to_numpy()[:place]:
            raise _broken(about, place, f"run {key} is not as it was written, or there twice")
    run = pd.Index(runs.run).get_indexer(rows.run)
    if (run < 0).any():
        place = int((run < 0).argmax())
        raise _broken(path, place, f"run {rows.run[place]} does not stand in {about.name}")
    found = np.bincount(run, minlength=len(runs))
    if (found != runs.rows).any():
        place = int((found != runs.rows).argmax())
        one = runs.iloc[place]
        raise _broken(path, None, f"{one.model} (run {one.run}) has {found[place]} of its {one.rows} rows")
    return _distinct(path, pd.concat([runs[RUN].take(run).reset_index(drop=True), rows[SCORED]], axis=1)[COLUMNS])


def _table(path: Path) -> pd.DataFrame:
    """A table from a file; only an empty cell is a missing value, `NA` is a name."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"no rows in {path}: {error.strerror}") from error
    if not content.endswith(b"\n"):
        raise _broken(path, content.count(b"\n") - 1, "the file ends in the middle of a row")
    kinds = dict.fromkeys(TEXT, str)
    options = {"keep_default_na": False, "na_values": [""], "low_memory": False}
    try:
        table = pd.read_csv(io.BytesIO(content), dtype=kinds, **options)
        if not isinstance(table.index, pd.RangeIndex):  # what pandas makes of surplus cells
            raise ValueError("its rows have more cells than its first line")
    except (ValueError, OverflowError) as error:  # of which pandas' own errors are
        raise UserError(f"{path} is no table of results: {' '.join(str(error).split())}") from error
    return table


def _broken(path: Path, place: int | None, what: str) -> UserError:
    """The error for the row of a file at `place`, from 0 on; None: for the whole file."""
    what = textwrap.shorten(what, 200, placeholder=" ...")
    row = "" if place is None else f", row {place + 2}"
    return UserError(f"{path}{row}: {what}; the file was cut or edited; move it away, and collect or measure again")


def _checked(path: Path, rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Rows that have these columns, and in them what a measurement gives."""
    if missing := [column for column in columns if column not in rows]:
        raise UserError(f"{path} is no table of results: it has no column {', '.join(missing)}")
    for column, wrong, what in _wrong_values(rows):
        if wrong.any():
            place = int(wrong.to_numpy().argmax())
            raise _broken(path, place, f"{column}={rows[column].iloc[place]} {what}")
    return rows


def _distinct(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows no two of which agree in all of `KEY`."""
    twice = rows.duplicated(KEY).to_numpy()
    if twice.any():
        one = rows.iloc[twice.argmax()]
        what = f"{one.score} of {one.model} {one.layer} at {one.element} is there twice"
        raise _broken(path, int(twice.argmax()), what)
    return rows


def _wrong_values(rows: pd.DataFrame) -> Iterator[tuple[str, "pd.Series[bool]", str]]:
    """Columns, in which rows their value is none that a measurement gives, and what is wrong with it."""
    for column in [name for name in NAMES if name in rows]:
        bad = [name for name in rows[column].dropna().unique() if not is_name(name)]
        yield column, rows[column].isin(bad), NAME_NEEDS
    if "trained" in rows and not pd.api.types.is_bool_dtype(rows.trained):
        yield "trained", ~rows.trained.astype(str).isin(("True", "False")), "is neither True nor False"
    for column in [name for name in WORDS if name in rows]:
        yield column, ~rows[column].isin(WORDS[column]), f"is none of {', '.join(WORDS[column])}"
    for column in [name for name in (*SHARES, *WHOLE) if name in rows]:
        known, numbers = rows[column].notna(), pd.to_numeric(rows[column], errors="coerce")
        if column in SHARES:
            yield column, known & ~numbers.between(0, 1), "is no number in [0, 1]"
        else:
            yield column, ~((numbers >= 0) & (numbers % 1 == 0)), "is no whole number from 0 on"


def completed(table: pd.DataFrame) -> pd.DataFrame:
    """A table of scores with all of `names.COLUMNS`, empty where nothing is known.

    Raises:
        UserError: it holds no scores.
    """
    needed = ("layer", "index", "part", "transform", "element", "score", "value")
    if missing := [column for column in needed if column not in getattr(table, "columns", ())]:
        given = ", ".join(missing)
        raise UserError(f"the table has no column {given}: give rows of equivariance.measure, or of results.csv")
    return table.reindex(columns=[*table.columns, *(column for column in COLUMNS if column not in table)])


def is_trained(rows: pd.DataFrame) -> pd.Series:
    """Whether a row is of a trained network: neither at initialisation nor the epoch 0 of a training."""
    return rows.trained.astype(bool) & ~(rows.epoch == 0)


def of_last_epoch(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of networks after their last epoch, or of whose training nothing is known."""
    return rows[rows.epoch.isna() | (rows.epoch == rows.epochs)]


def of_first_over(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the first of `names.OVER` that there are rows of."""
    return rows[rows.over == min(rows.over, key=OVER.index)] if len(rows) else rows


def by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over elements: one row per measurement, layer and score, in the order of the layers."""
    keys = [*MEASUREMENT, "index", "layer", "part", "score"]
    scores = ["value", "cross_fitted", "chance", "low", "high", "control", "stride", "dead_channels"]
    return rows.groupby(keys, dropna=False, sort=False)[scores].mean().reset_index()


def by_part(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over elements, then layers: one row per measurement, part and score."""
    keys = [*MEASUREMENT, "part", "score"]
    how = {"value": "mean", "chance": "mean", "accuracy": "first"}  # a mean of equal ones need not equal them
    layers = rows.groupby([*keys, "index"], sort=False, dropna=False).agg(how)
    return layers.groupby(keys, sort=False, dropna=False).agg(how).reset_index()


def few_images(table: pd.DataFrame) -> str:
    """A sentence where the images are too few to quote scores; empty where they are enough."""
    layers = by_layer(completed(table)[table.score == "equivariance"])
    wide = layers[layers.value - layers.cross_fitted > BRACKET]
    images = int(table.images.max())
    if images < FEW:
        return f"{images} images are too few to quote the score of any layer: give some hundreds"
    if wide.empty:
        return ""
    which = "any layer" if len(wide) == len(layers) else ", ".join(wide.layer.unique())
    gap = (wide.value - wide.cross_fitted).max()
    return (
        f"{images} images are too few to quote the equivariance of {which}: it lies between the lower end of its "
        f"interval and the score (partners chosen on other images give up to {gap:.1%} less)"
    )
