"""The state of a training run: network, optimiser, place in the data; and evaluation."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equivariance.errors import UserError
from equivariance.progress import progress
from equivariance.study.config import Recipe
from equivariance.study.data.augmentation import Augmentation
from equivariance.study.data.datasets import Images
from equivariance.study.training.hardware import Hardware
from equivariance.study.training.recipe import learning_rate, optimiser


@dataclass
class Totals:
    """Sums over the images of one pass, kept on the device so that nothing waits for it."""

    loss: Tensor
    correct: Tensor
    images: Tensor

    @classmethod
    def zero(cls, device: torch.device) -> "Totals":
        return cls(*(torch.zeros((), dtype=kind, device=device) for kind in (torch.float, torch.long, torch.long)))

    def set(self, loss: float | Tensor = 0, correct: int | Tensor = 0, images: int | Tensor = 0) -> None:
        """Set the sums in place, where a captured step reads them."""
        for place, value in ((self.loss, loss), (self.correct, correct), (self.images, images)):
            place.copy_(torch.as_tensor(value))

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch; the label of an image with shares of several classes, (n, classes), is the largest one."""
        labels = labels if labels.ndim == 1 else labels.argmax(1)
        self.loss += loss.detach() * len(labels)
        self.correct += (logits.detach().argmax(1) == labels).sum()
        self.images += len(labels)

    def means(self) -> tuple[float, float]:
        """Mean loss, and accuracy in [0, 1]."""
        images = self.images.item()
        return self.loss.item() / images, self.correct.item() / images


Step = Callable[["Training", Tensor, Tensor], None]  # one step of gradient descent on images and labels


class Training:
    """A network in training, and all that a checkpoint must hold to go on exactly where it stopped.

    Attributes:
        epoch: completed epochs.
        step: completed steps of the current epoch.
        order: the order of the images in the current epoch; None between epochs.
        draws: what their augmentation draws, in that order; None between epochs.
        totals: loss and accuracy of the current epoch so far.
        history: one dict of metrics for each completed epoch.
        generator: draws the orders and the augmentations.
    """

    PROGRESS = ("epoch", "step", "order", "draws", "history")

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        hardware: Hardware,
        seed: int,
        augmentation: Augmentation | None = None,
    ):
        self.model, self.recipe, self.hardware = model, recipe, hardware
        self.augmentation = augmentation or Augmentation()
        self.criterion = nn.CrossEntropyLoss()  # for labels with shares of classes the mean over the shares
        self.optimiser = optimiser(recipe, model, hardware.graph)
        self.rate: float | None = None
        self.generator = torch.Generator().manual_seed(seed)
        self.epoch, self.step = 0, 0
        self.order: Tensor | None = None
        self.draws: Tensor | None = None
        self.history: list[dict[str, Any]] = []
        self.totals = Totals.zero(hardware.device)
        self.captured: Callable[[Tensor, Tensor], None] | None = None
        self.classes = 0  # of the images, once there are some

    def state(self) -> dict[str, Any]:
        """Everything, as tensors and plain values."""
        return {key: getattr(self, key) for key in self.PROGRESS} | {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.hardware.device.type == "cuda" else None,
            "totals": [self.totals.loss, self.totals.correct, self.totals.images],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state()` was called."""
        state = {"draws": None, "step": state.get("start"), "cuda_rng": None} | state  # old ones lack them
        for key in self.PROGRESS:
            setattr(self, key, state[key])
        self.model.load_state_dict(state["model"])
        groups = self.optimiser.state_dict()["param_groups"]  # as the recipe and this device have it
        self.optimiser.load_state_dict(state["optimiser"] | {"param_groups": groups})
        self.rate = None
        self.set_learning_rate(float(state["optimiser"]["param_groups"][0]["lr"]))
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch_rng"])
        if self.hardware.device.type == "cuda" and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"])
        self.totals.set(*state["totals"])
        self.captured = None  # the optimiser's state lies elsewhere in memory now

    def steps(self, images: int) -> int:
        """Steps per epoch; the incomplete last batch is dropped."""
        return images // self.recipe.batch_size

    def batches(self, images: Images) -> Iterator[tuple[Tensor, Tensor]]:
        """The remaining batches of the current epoch: augmented, normalised images, and labels.

        Labels are (n,), or with CutMix (n, classes), the share of each class in the pixels. The network is put into
        training mode, which evaluation has changed.
        """
        size, steps, device = self.recipe.batch_size, self.steps(len(images)), self.hardware.device
        self.model.train()
        self.classes = len(images.classes)
        if self.order is None:
            self.order = torch.randperm(len(images), generator=self.generator)
        if self.draws is None:
            self.draws = self.augmentation.draw(steps * size, self.generator)
        for first in range(self.step, steps, self.hardware.chunk):
            chunk = slice(first * size, min(first + self.hardware.chunk, steps) * size)
            chosen, draws = self.order[chunk].to(device), self.draws[chunk]
            pixels = self.augmentation.augment(images.pixels[chosen], draws)
            labels, draws = images.labels[chosen], draws.to(device)
            for batch in zip(pixels.split(size), labels.split(size), draws.split(size), strict=True):
                self.set_learning_rate(learning_rate(self.recipe, self.epoch + self.step / steps))
                mixed, targets = self.augmentation.mix(*batch, self.classes)
                yield images.normalise(mixed), targets

    def logits(self, output: Any) -> Tensor:
        """Those in the network's output, see `logits_of`."""
        return logits_of(output, self.classes)

    def take(self, step: Step, images: Tensor, labels: Tensor) -> None:
        """Take a step; where `hardware.graph`, it is captured in a CUDA graph once and replayed from then on."""
        if self.captured is None:
            self.captured = self.hardware.capture(partial(step, self))
        self.captured(images, labels)
        self.step += 1

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of the next step, on CUDA devices in place, where a captured step reads it."""
        if rate == self.rate:
            return
        self.rate = rate
        for group in self.optimiser.param_groups:
            group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate

    def end_epoch(self, loss: float, accuracy: float, seconds: float) -> dict[str, Any]:
        """Count the epoch; returns its metrics, with those of the held-out images given here, for the history."""
        train_loss, train_accuracy = self.totals.means()
        self.epoch, self.step, self.order, self.draws = self.epoch + 1, 0, None, None
        self.totals.set()
        metrics = {"epoch": self.epoch, "lr": self.rate, "train_loss": train_loss, "train_accuracy": train_accuracy}
        metrics |= {"loss": loss, "accuracy": accuracy, "seconds": round(seconds, 2)}
        self.history.append(metrics)
        return metrics

    @property
    def accuracy(self) -> float | None:
        """On the held-out images, in [0, 1], after the last completed epoch."""
        return self.history[-1]["accuracy"] if self.history else None

    def check_loss(self, classes: int) -> None:
        """Refuse to go on with a lost network: its loss or a weight is NaN or infinite, or the loss exploded.

        A loss above ten times that of guessing, ln(classes), counts as exploded.
        """
        loss, _ = self.totals.means()
        tensors = [value for value in self.model.state_dict().values() if isinstance(value, Tensor)]
        finite = all(weights.isfinite().all() for weights in tensors)
        if not finite or not loss <= 10 * math.log(classes):
            lost = f"the loss is {loss:.4g} in epoch {self.epoch + 1}{'' if finite else ', weights are no numbers'}"
            kept = f"epoch {self.epoch} is kept" if self.epoch else "nothing was saved"
            raise UserError(
                f"{lost}; {kept}, and the same command would come to the same end: "
                f"try a lower recipe.lr than {self.recipe.lr} in another run_dir"
            )


def logits_of(output: Any, classes: int) -> Tensor:
    """The output (n, classes) of a network, in float32; a UserError where it is something else."""
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] < classes:
        what = f"shape {(*output.shape,)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise UserError(f"the network puts out {what}: training needs logits (n, {classes}) alone")
    return output.float()


@torch.no_grad()
def evaluate(model: nn.Module, images: Images, hardware: Hardware, batch_size: int = 1000) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of a model in evaluation mode, over all images."""
    model.eval()
    totals = Totals.zero(hardware.device)
    with progress("accuracy", len(images), delay=5) as bar:
        for start in range(0, len(images), batch_size):
            batch = images.normalise(images.pixels[start : start + batch_size])
            labels = images.labels[start : start + batch_size]
            with hardware.autocast():
                output = model(batch.contiguous(memory_format=hardware.layout))
            logits = logits_of(output, len(images.classes))
            totals.add(F.cross_entropy(logits, labels), logits, labels)
            bar.update(len(labels))
    return totals.means()
