"""The scores of a layer, from the similarities of its channels."""

import torch
from torch import Tensor


def invariance(r: Tensor, own: Tensor | None = None) -> float:
    """Mean over c of relu(r[c, c]) (paper, Eq. 4); in [0, 1], dead channels left out, NaN if all are.

    Args:
        r: (c, c), or some of its rows: (k, c).
        own: (k,), the channels c of these rows; all of them if None.
    """
    diagonal = r.diagonal() if own is None else r.gather(1, own.to(r.device)[:, None])
    return diagonal.relu().nanmean().item()


def equivariance(r: Tensor, own: Tensor | None = None) -> float:
    """Mean over c of max over c' of relu(r[c, c']) (paper, Eq. 7); as `invariance`, and never smaller."""
    alive = ~(r.diagonal() if own is None else r.gather(1, own.to(r.device)[:, None])[:, 0]).isnan()
    best = r.relu().nan_to_num(-torch.inf).amax(1)[alive]
    return best.mean().item()


FORMULAS = {"invariance": invariance, "equivariance": equivariance}
