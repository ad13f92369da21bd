"""A network and images in, a table of scores out."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.metric.equivariance import Equivariance
from equivariance.names import COLUMNS, SCORES
from equivariance.progress import progress as progress_bar
from equivariance.transforms.protocol import Transformation


def measure(
    model: nn.Module,
    images: Tensor | np.ndarray | Iterable,
    transforms: Sequence[Transformation],
    layers: Sequence[str | nn.Module] | None = None,
    *,
    over: str | Sequence[str] = "image",
    similarity: str = "pearson",
    scores: Sequence[str] = SCORES,
    blocks: int = 10,
    batch_size: int = 250,
    progress: bool = False,
) -> pd.DataFrame:
    """Invariance and equivariance of every layer of a network under every transformation.

    Args:
        model: takes images (n, c, h, w) as they are given here; measured in evaluation mode and left as it was.
        images: (n, c, h, w), normalised as the network expects; or batches of them, also as (images, labels).
        transforms: the set G without the identity, from `rotations`, `shifts` and their like.
        layers: patterns of module names, such as `layer1.*`; None: stem, blocks, pool and final.
        over: over what a similarity runs, see `statistics`: one of `names.OVER`, or several.
        similarity: pearson or cosine.
        scores: of `names.NESTED`: invariance, equivariance and, where asked for, linear.
        blocks: at most so many blocks of images give the confidence interval.
        batch_size: images of a forward pass, each with all its copies; no influence on the result.
        progress: show a bar.

    Returns:
        One row per layer, transformation and score; the columns are those of results.csv. Which modules are left
        out is printed to the standard error.

    Raises:
        UserError: no images, fewer than two, or some that the network or a transformation cannot take.
    """
    stream = batches(images, batch_size)
    first = next(stream, None)
    if first is None:
        raise UserError("there are no images to measure")
    metric = Equivariance(
        model,
        transforms,
        layers,
        over=over,
        similarity=similarity,
        scores=scores,
        blocks=blocks,
        batch_size=batch_size,
    )
    metric.setup(first[0])
    if metric.left_out:
        names = ", ".join(metric.left_out)
        print(f"{len(metric.layers)} layers; left out: {names} (find_layers says why)", file=sys.stderr)
    total = len(images) if isinstance(images, Tensor | np.ndarray) else None
    with progress_bar("equivariance", total) if progress else nullcontext() as bar:
        for batch, labels in chain([first], stream):
            metric.update(batch, labels)
            if bar is not None:
                bar.update(len(batch))
    table = metric.compute().assign(model=type(model).__name__, accuracy=metric.accuracy)
    return table.reindex(columns=COLUMNS)


def batches(images: Any, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Images and labels, whichever way they are given."""
    if isinstance(images, Tensor | np.ndarray):
        images = torch.as_tensor(images)
        yield from ((images[start : start + size], None) for start in range(0, len(images), size))
        return
    for batch in images:
        given, labels, *_ = (*batch, None) if isinstance(batch, tuple | list) else (batch, None)
        if len(given):
            yield torch.as_tensor(given), None if labels is None else torch.as_tensor(labels)
