"""Logits taken apart: what of them stays under quarter turns, over images and over classes?

    python scripts/decisions.py NAME [NAME ...] [overrides, such as weights_dir=FOLDER]

NAME is an experiment whose preset measures trained networks under quarter turns. Adds a row for each of its
networks and kept epochs to experiments/decisions/logits.csv, and skips those that are there; for its columns see
`quantities`.
"""

from equivariance.study.cli import answer_help, command_line

answer_help(__name__, __doc__)  # before what takes seconds is imported

from functools import partial
from itertools import chain
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig
from torch import Tensor

from equivariance.study.cli import jobs as experiments
from equivariance.study.config import EXPERIMENTS
from equivariance.study.measuring import Measurement
from equivariance.study.runs.processes import Processes
from equivariance.study.tables import extend

FILE = EXPERIMENTS / "decisions/logits.csv"
LARGEST = (1, 3, 10)  # logits of each image that are told from the rest
KEY = ["dataset", "model", "seed", "epoch"]


def quantities(before: Tensor, after: Tensor) -> dict[str, float]:
    """What of the logits (n, classes) of n images stays, `before` and `after` a transformation; each at most 1.

    Returns:
        agreement: the share of images with the same largest logit.
        over_images: the correlation over the images, mean over classes; but for its relu the logits' `invariance`.
        over_classes: the correlation over the classes, mean over images.
        softmax_over_images, softmax_over_classes: the same of probabilities.
        largest_k, rest_k: two parts of `over_images`, which is the mean of products of standardised logits over all
            images and classes: of the k largest logits `before` of each image, and of the rest. Each is divided by
            the mean square of these logits `before`: 1 where all stays.
    """
    found = {"agreement": (before.argmax(1) == after.argmax(1)).double().mean().item()}
    for name, (a, b) in {"": (before, after), "softmax_": (before.softmax(1), after.softmax(1))}.items():
        found[f"{name}over_images"] = (_standardised(a, 0) * _standardised(b, 0)).mean().item()
        found[f"{name}over_classes"] = (_standardised(a, 1) * _standardised(b, 1)).mean().item()
    a, b = _standardised(before, 0), _standardised(after, 0)
    for k in (k for k in LARGEST if k < before.shape[1]):
        largest = torch.zeros_like(before, dtype=torch.bool).scatter(1, before.topk(k, 1).indices, True)
        for name, chosen in ((f"largest_{k}", largest), (f"rest_{k}", ~largest)):
            found[name] = ((a * b)[chosen].sum() / (a * a)[chosen].sum()).item()
    return found


def _standardised(x: Tensor, dim: int) -> Tensor:
    """Mean 0 and variance 1 along a dimension; 0 where all values are equal."""
    x = x.double() - x.double().mean(dim, keepdim=True)
    return x / x.square().mean(dim, keepdim=True).sqrt().clamp(min=1e-12)


def logits(job: Measurement) -> tuple[Tensor, Tensor | None]:
    """The logits (1 + elements, n, classes) of the chosen images and of their copies; and the labels (n,)."""
    found, known = [], []
    with torch.inference_mode():
        for images, labels in job.batches():
            copies = [images, *(g.act(images) for g in job.metric.transforms)]
            found.append(torch.stack([job.model(copy).float().cpu() for copy in copies]))
            known.append(labels)
    return torch.cat(found, 1), torch.cat(known).cpu() if job.classifies else None


def row(cfg: DictConfig) -> pd.DataFrame:
    """The quantities of a network, mean over the elements."""
    (before, *after), labels = logits(Measurement(cfg, Processes()))
    accuracy = None if labels is None else (before.argmax(1) == labels).double().mean().item()
    place = dict(zip(KEY, key(cfg), strict=True)) | {"images": len(before), "accuracy": accuracy}
    return pd.DataFrame([{**place, **pd.DataFrame([quantities(before, each) for each in after]).mean()}])


def key(cfg: DictConfig) -> tuple[str, str, int, int]:
    """What names a row; of an epoch that is not known -1."""
    return cfg.dataset.name, cfg.model.name, cfg.seed, -1 if cfg.measure.epoch is None else cfg.measure.epoch


def main(*arguments: str, file: Path = FILE) -> None:
    overrides = tuple(argument for argument in arguments if "=" in argument)
    names = [argument for argument in arguments if argument not in overrides]
    jobs = chain(*(experiments.jobs(name, "measure", overrides) for name in names))
    turned = (cfg for cfg in jobs if cfg.measure.trained and cfg.measure.name == "rotation")
    extend(file, KEY, ((key(cfg), partial(row, cfg)) for cfg in turned))


if __name__ == "__main__":
    command_line(main)
