"""Where in a network is a score lost? The drop of each score from the input of a block to its output."""

import math

import pandas as pd

from equivariance.errors import UserError
from equivariance.names import BEFORE_POOLING
from equivariance.rows import MEASUREMENT, by_layer, completed

INPUT = "input"  # the images: they are transformed exactly as they are compared, so that each score is 1
COLUMNS = ["score", "layer", "before", "drop", "low", "high", "stride_before", "stride", "control"]


def score_drops(rows: pd.DataFrame) -> pd.DataFrame:
    """The drop of each score from a block to the next one, the largest first; the input has 1.

    Scores are means over elements. Measured are the layers before pooling: behind it there are no positions left,
    and a score is of something else.

    Args:
        rows: of one measurement, see `rows.COLUMNS`.

    Returns:
        A row per layer and score: measure, layer, before (the layer before it), `drop` (negative where the score
        rises), `low` and `high`, its interval as if those of both layers were independent, stride_before and
        stride (NaN in older files), and the layer's control (NaN for exact transformations).

    Raises:
        UserError: there are no rows of a layer before pooling, or of several measurements.
    """
    blocks = completed(rows)[rows.part.isin(BEFORE_POOLING)]
    if blocks.empty:
        raise UserError("no rows of a layer before pooling")
    for column in MEASUREMENT:
        if len(values := blocks[column].unique()) > 1:
            raise UserError(f"rows of several values of {column} ({', '.join(map(str, values[:4]))}): choose one")
    found = []
    for measure, layers in by_layer(blocks).groupby("score", sort=False):
        layer, value, low, high, stride = INPUT, 1.0, 1.0, 1.0, 1.0
        for one in layers.sort_values("index").itertuples():
            spread = math.hypot(one.value - one.low, high - value), math.hypot(one.high - one.value, value - low)
            drop = value - one.value
            ends = {"low": drop - spread[1], "high": drop + spread[0]}
            strides = {"stride_before": stride, "stride": one.stride, "control": one.control}
            found.append({"score": measure, "layer": one.layer, "before": layer, "drop": drop} | ends | strides)
            layer, value, low, high, stride = one.layer, one.value, one.low, one.high, one.stride
    table = pd.DataFrame(found, columns=COLUMNS)
    return table.sort_values("drop", ascending=False, kind="stable", ignore_index=True)
