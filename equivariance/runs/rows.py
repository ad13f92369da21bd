"""Results as rows: one per layer, transformation and measure. Figures and verdicts read rows and nothing else."""

import io
from pathlib import Path

import pandas as pd

from equivariance.errors import UserError
from equivariance.runs.atomic import write_atomic

COLUMNS = [
    # what was measured
    *("experiment", "dataset", "model", "aug", "width", "trained", "seed"),
    # where in it, and how
    *("layer", "index", "part", "transform", "element", "measure", "similarity", "over"),
    # the result, in [0, 1]: score, its cross-fitted value, chance level, 95 % confidence interval over images
    *("value", "cross_fitted", "chance", "low", "high"),
    # mean of the feature maps
    "activation",
    # over how many images and channels; dead: without variance everywhere; live: mean share of channels with variance
    *("images", "channels", "dead_channels", "live"),
    # where it comes from; epochs, accuracy and precision are those of the training, epoch the one measured
    *("epoch", "epochs", "accuracy", "precision", "git_commit", "torch_version", "hardware"),
]


def write(path: Path, rows: pd.DataFrame) -> None:
    """Write rows, whole or not at all; values with six digits."""
    write_atomic(path, rows[COLUMNS].to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def read(path: Path) -> pd.DataFrame:
    """Read rows back.

    Raises:
        UserError: there is no such file, or it lacks a column.
    """
    try:
        rows = pd.read_csv(io.StringIO(path.read_text()), keep_default_na=True)
    except OSError as error:
        raise UserError(f"no rows in {path}: {error.strerror}") from error
    if "over" not in rows and set(COLUMNS) - set(rows) <= {"epoch", "over", "live", "cross_fitted"}:
        rows = _of_before_readings(rows)
    missing = [column for column in COLUMNS if column not in rows]
    if missing:
        raise UserError(f"{path} is no table of results: it has no column {', '.join(missing)}")
    return rows


def _of_before_readings(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of before there were readings of the measure: all ran over the data set, or took each image's maximum."""
    each_image = rows.similarity == "per_image"
    return rows.assign(
        epoch=rows.get("epoch", rows.epochs),
        over=each_image.map({True: "image_max", False: "dataset"}),
        similarity=rows.similarity.where(~each_image, "pearson"),
        live=1 - rows.dead_channels / rows.channels,
        cross_fitted=float("nan"),
    )


def by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over transformations: one row per network, layer and measure, in the order of the layers."""
    keys = ["dataset", "model", "aug", "width", "trained", "seed", "index", "layer", "part", "measure"]
    scores = ["value", "chance", "dead_channels"]
    return rows.groupby(keys, dropna=False, sort=False)[scores].mean().reset_index()


def by_part(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over elements, then layers: one row per network, transformation, part and measure."""
    keys = ["model", "trained", "seed", "transform", "part", "measure"]
    layers = rows.groupby([*keys, "index"], sort=False, dropna=False)[["value", "chance", "accuracy"]].mean()
    return layers.groupby(keys, sort=False, dropna=False).mean().reset_index()


def summary(rows: pd.DataFrame) -> str:
    """A short table of one measurement for the terminal: both scores and their chance level, layer by layer."""
    wide = by_layer(rows).pivot(index=["index", "layer", "part"], columns="measure", values=["value", "chance"])
    table = pd.DataFrame(
        {
            (measure, kind): wide[kind, measure].map("{:.3f}".format)
            for measure in ("invariance", "equivariance")
            for kind in ("value", "chance")
        }
    )
    table.columns = ["invariance", "(chance)", "equivariance", "(chance)"]
    return table.reset_index().drop(columns="index").to_string(index=False)
