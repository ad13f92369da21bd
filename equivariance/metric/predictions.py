"""What a user feels: how often the predicted class stays, and stays right, when the image is transformed."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from equivariance.transforms.protocol import Transformation


class Predictions:
    """Counts of images whose predicted class stays, and is right, under each transformation and under all.

    Attributes:
        kept: numbers of images by column, name of the transformation and its element.
        correct: images whose class is right as they are; None without labels.
    """

    def __init__(self) -> None:
        self.kept: Counter[tuple[str, str, float | str]] = Counter()
        self.correct: int | None = None

    def add(self, predicted: Tensor, labels: Tensor | None, transforms: Sequence[Transformation]) -> None:
        """Add classes (1 + g, n), those of n images and of their copies; labels (n,)."""
        original, copies = predicted[0], predicted[1 : 1 + len(transforms)]
        columns = {"agreement": (copies == original, torch.ones_like(original, dtype=torch.bool))}
        if labels is not None:
            right = predicted == labels.to(predicted.device)
            columns["top1"] = right[1 : 1 + len(transforms)], right[0]
            self.correct = (self.correct or 0) + int(right[0].sum())
        for column, (each, always) in columns.items():
            worst: dict[str, Tensor] = {}
            for g, stays in zip(transforms, each, strict=True):
                self.kept[column, g.name, g.element] += int(stays.sum())
                worst[g.name] = worst.get(g.name, always) & stays
            for name, stays in worst.items():
                self.kept[f"{column}_worst", name, ""] += int(stays.sum())

    def shares(self, g: Transformation, images: int) -> dict[str, float]:
        """`agreement` and `top1` under g, and both under all transformations of its name; NaN without labels."""
        keys = {column: (column, g.name, g.element) for column in ("agreement", "top1")}
        keys |= {f"{column}_worst": (f"{column}_worst", g.name, "") for column in ("agreement", "top1")}
        return {name: self.kept[key] / images if key in self.kept else math.nan for name, key in keys.items()}

    def merge(self, state: dict[str, Any]) -> None:
        """Add the counts that the `state()` of others describes."""
        self.kept.update(state["kept"])
        if state["correct"] is not None:
            self.correct = (self.correct or 0) + state["correct"]

    def state(self) -> dict[str, Any]:
        """All counts, copied."""
        return {"kept": dict(self.kept), "correct": self.correct}
