"""A network and images in, a table of scores out."""

import sys
import warnings
from collections.abc import Iterable, Sequence
from contextlib import nullcontext

import numpy as np
import pandas as pd
from torch import Tensor, nn

from equivariance.metric import inputs
from equivariance.metric.equivariance import Equivariance
from equivariance.metric.precision import Precision
from equivariance.names import COLUMNS, SCORES
from equivariance.progress import progress as progress_bar
from equivariance.rows import few_images
from equivariance.transforms.protocol import Transformation

FIRST, LAST = ["layer", "element", "score"], ["low", "high", "value", "chance"]  # which Pandas prints of many


def measure(
    model: nn.Module,
    images: Tensor | np.ndarray | Iterable,
    transforms: Transformation | Sequence[Transformation],
    layers: Sequence[str | nn.Module] | None = None,
    *,
    over: str | Sequence[str] = "image",
    similarity: str = "pearson",
    scores: Sequence[str] = SCORES,
    blocks: int = 10,
    batch_size: int = 250,
    until: float | None = None,
    until_parts: Sequence[str] | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Invariance and equivariance of every layer of a network under every transformation.

    Args:
        model: takes images (n, c, h, w) as they are given here; measured in evaluation mode and left as it was.
        images: (n, c, h, w), normalised as the network expects; or batches of them, also as (images, labels) or as
            dicts; or a `Dataset` or `DataLoader`, see `inputs.batches`.
        transforms: the set G, one or several, without the identity, from `rotations`, `shifts` and their like.
        layers: patterns of module names, such as `layer1.*`; None: stem, blocks, pool and final.
        over: over what a similarity runs, see `statistics`: one of `names.OVER`, or several.
        similarity: pearson or cosine.
        scores: of `names.NESTED`: invariance, equivariance and, where asked for, linear.
        blocks: at most so many blocks of images give the confidence interval.
        batch_size: images of a forward pass, each with all its copies; no influence on the result.
        until: end as soon as the widest bracket `low` to `high` of the scores of these parts is at most so
            wide; None: measure all images. The looks are after 64, 128, 256, ... images, and intervals allow for
            them, see `Precision`.
        until_parts: of `names.PARTS`; None: those before pooling.
        progress: show a bar.

    Returns:
        One row per layer, transformation and score; the columns are those of results.csv that are known here, the
        scores first and last, where Pandas shows them. Which modules are left out is printed to the standard error.
        With `until`, the column `ended` says why no more images were measured, and how wide the brackets of all
        parts are.

    Raises:
        UserError: no images, or some that the network or a transformation cannot take; no layer varies over them;
            another argument is not as said.
    """
    precision = Precision(until, until_parts)
    sizes = {"blocks": blocks, "batch_size": batch_size}
    metric = Equivariance(model, transforms, layers, over=over, similarity=similarity, scores=scores, **sizes)
    total = len(images) if isinstance(images, Tensor | np.ndarray) else None
    with progress_bar("equivariance", total) if progress else nullcontext() as bar:
        for batch, labels in precision.enough(inputs.batches(images, metric.batch_size), metric):
            metric.update(batch, labels)
            if bar is not None:
                bar.update(len(batch))
    metric.check_alive()
    if metric.left_out:
        names = ", ".join(metric.left_out)
        print(f"{len(metric.layers)} layers; left out: {names} (find_layers says why)", file=sys.stderr)
    about = {"model": type(metric.model).__name__, "accuracy": metric.accuracy, "ended": precision.ended(metric)}
    table = metric.compute(precision.level(metric)).assign(**about)
    if few := few_images(table):
        warnings.warn(few, stacklevel=2)
    inner = [column for column in COLUMNS if column not in (*FIRST, *LAST)]
    return table.reindex(columns=[*FIRST, *inner, *LAST]).dropna(axis=1, how="all")
