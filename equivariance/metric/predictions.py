"""What a user feels: how often the predicted class stays, and stays right, when the image is transformed."""

import math
from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from equivariance.transforms.protocol import Transformation


class Predictions:
    """Counts of images whose predicted class stays, and is right, under each transformation and under all.

    The class is that of the largest logit; of a single logit, its sign.

    Attributes:
        counts: numbers of images by column, name of the transformation and its element; of all images, `images`, of
            those with a label, `labelled`, and of those whose class is right as they are, `correct`.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, float | str]] = Counter()

    def add(self, logits: Tensor, labels: Tensor | None, transforms: Sequence[Transformation]) -> None:
        """Add logits (1 + g, n, classes), those of n images and of their copies; labels (n,)."""
        predicted = logits.argmax(2) if logits.shape[2] > 1 else logits[..., 0] > 0
        original, copies = predicted[0], predicted[1 : 1 + len(transforms)]
        self.counts["images", "", ""] += len(original)
        columns = {"agreement": (copies == original, original == original)}
        if labels is not None:
            right = predicted == labels.to(predicted.device)
            columns["top1"] = right[1 : 1 + len(transforms)], right[0]
            self.counts["labelled", "", ""] += len(labels)
            self.counts["correct", "", ""] += int(right[0].sum())
        for column, (each, always) in columns.items():
            worst: dict[str, Tensor] = {}
            for g, stays in zip(transforms, each, strict=True):
                self.counts[column, g.name, g.element] += int(stays.sum())
                worst[g.name] = worst.get(g.name, always) & stays
            for name, stays in worst.items():
                self.counts[f"{column}_worst", name, ""] += int(stays.sum())

    def share(self, column: str, name: str = "", element: float | str = "") -> float:
        """Of a column, among the images that it can be told of; NaN without any."""
        images = self.counts["images" if column.startswith("agreement") else "labelled", "", ""]
        return self.counts[column, name, element] / images if images else math.nan

    def shares(self, g: Transformation) -> dict[str, float]:
        """`agreement` and `top1` under g, and both under all transformations of its name; NaN without labels."""
        each = {column: self.share(column, g.name, g.element) for column in ("agreement", "top1")}
        return each | {f"{column}_worst": self.share(f"{column}_worst", g.name) for column in each}
