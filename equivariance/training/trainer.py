"""Training: recipe, step, evaluation, and the state from which a run goes on."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn

from equivariance.data.augmentation import Augmentation
from equivariance.data.datasets import Images
from equivariance.errors import UserError
from equivariance.progress import progress
from equivariance.training.hardware import Hardware

SCHEDULES = ("milestones", "one_cycle")


def check_recipe(recipe: DictConfig, images: int) -> None:
    """Refuse what cannot be trained, naming the key.

    Raises:
        UserError: a value is out of its range.
    """

    def refuse(key: str, why: str) -> None:
        raise UserError(f"recipe.{key}={recipe[key]}: {why}")

    for key in ("epochs", "batch_size"):
        if not isinstance(recipe[key], int) or recipe[key] < 1:
            refuse(key, "needs a whole number from 1 on")
    if recipe.batch_size > images:
        refuse("batch_size", f"larger than the training set of {images} images")
    above_0 = ("lr", "factor") if recipe.schedule == "milestones" else ("lr",)
    for key, lowest in (*((key, 0) for key in above_0), ("weight_decay", None)):
        value = recipe[key]
        if not isinstance(value, int | float) or value < 0 or value == lowest:
            refuse(key, f"needs a number {'from 0 on' if lowest is None else 'above 0'}")
    if recipe.optimiser not in ("adam", "sgd"):
        refuse("optimiser", "choose adam or sgd")
    if recipe.schedule not in SCHEDULES:
        refuse("schedule", f"choose {' or '.join(SCHEDULES)}")
    if recipe.schedule == "one_cycle" and not 0 < recipe.warm_up < recipe.epochs:
        refuse("warm_up", f"needs a number of epochs above 0 and below recipe.epochs={recipe.epochs}")
    if any(not isinstance(epoch, int) or not 0 <= epoch <= recipe.epochs for epoch in recipe.keep):
        refuse("keep", f"needs whole numbers of epochs from 0 to recipe.epochs={recipe.epochs}")


def optimiser(recipe: DictConfig, model: nn.Module, captured: bool = False) -> torch.optim.Optimizer:
    """Adam or SGD with momentum, weight decay as an L2 term of the gradient (coupled), on every parameter.

    Args:
        captured: the learning rate is a tensor, which a captured step reads.
    """
    lr = torch.tensor(recipe.lr, device=next(model.parameters()).device) if captured else recipe.lr
    common = {"lr": lr, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), capturable=captured, **common)
    return torch.optim.SGD(model.parameters(), momentum=recipe.momentum, **common)


def learning_rate(recipe: DictConfig, epochs: float) -> float:
    """The learning rate of a step.

    `milestones`: lr / factor^k, k the number of milestones reached. `one_cycle`: from 0 up to lr over `warm_up`
    epochs, then down to 0 at the end, both linearly (Smith & Topin, "Super-convergence", 2018).

    Args:
        epochs: done before this step, with the share of the epoch under way.
    """
    if recipe.schedule == "one_cycle":
        return recipe.lr * min(epochs / recipe.warm_up, (recipe.epochs - epochs) / (recipe.epochs - recipe.warm_up))
    return recipe.lr / recipe.factor ** sum(epochs >= milestone for milestone in recipe.milestones)


@dataclass
class Totals:
    """Running sums of one pass over images; on the device, so that nothing waits for it."""

    loss: Tensor
    correct: Tensor
    images: Tensor

    @classmethod
    def zero(cls, device: torch.device) -> "Totals":
        return cls(
            *(torch.zeros((), dtype=dtype, device=device) for dtype in (torch.float, torch.long, torch.long))
        )

    def set(self, loss: float | Tensor = 0, correct: int | Tensor = 0, images: int | Tensor = 0) -> None:
        """Go back to these sums, where a captured step finds them."""
        for place, value in ((self.loss, loss), (self.correct, correct), (self.images, images)):
            place.copy_(torch.as_tensor(value))

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch; where labels are mixed, (n, classes), that of the largest share is the right one."""
        labels = labels if labels.ndim == 1 else labels.argmax(1)
        self.loss += loss.detach() * len(labels)
        self.correct += (logits.detach().argmax(1) == labels).sum()
        self.images += len(labels)

    def means(self) -> tuple[float, float]:
        """Mean loss, and accuracy in [0, 1]."""
        images = self.images.item()
        return self.loss.item() / images, self.correct.item() / images


class Training:
    """A network being trained, and all that a checkpoint must hold to go on exactly where it stopped.

    Attributes:
        epoch: epochs completed.
        start: steps completed in the epoch under way.
        order: the order of the images in that epoch; None between epochs.
        draws: what their augmentation draws, in that order; None between epochs.
        totals: loss and accuracy so far in that epoch.
        history: one dict of metrics for each completed epoch.
        generator: draws the orders and the augmentations.
    """

    PROGRESS = ("epoch", "start", "order", "draws", "history")

    def __init__(
        self,
        model: nn.Module,
        recipe: DictConfig,
        hardware: Hardware,
        seed: int,
        augmentation: Augmentation | None = None,
    ):
        self.model, self.recipe, self.hardware = model, recipe, hardware
        self.augmentation = augmentation or Augmentation()
        self.optimiser = optimiser(recipe, model, hardware.graph)
        self.rate = None
        self.generator = torch.Generator().manual_seed(seed)
        self.epoch, self.start, self.order, self.draws, self.history = 0, 0, None, None, []
        self.totals = Totals.zero(hardware.device)
        self.descend = hardware.capture(self._descend)

    def state(self) -> dict[str, Any]:
        """Everything, as tensors and plain values."""
        return {key: getattr(self, key) for key in self.PROGRESS} | {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "totals": [self.totals.loss, self.totals.correct, self.totals.images],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state()` was called."""
        for key in self.PROGRESS:
            setattr(self, key, state.get(key))  # there were no draws before there were augmentations
        self.model.load_state_dict(state["model"])
        here = {
            "param_groups": self.optimiser.state_dict()["param_groups"]
        }  # as the recipe and this device have it
        self.optimiser.load_state_dict(state["optimiser"] | here)
        self.rate = None
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch_rng"])
        self.totals.set(*state["totals"])
        self.descend = self.hardware.capture(self._descend)  # the optimiser's state lies elsewhere now

    def steps(self, images: int) -> int:
        """Steps of an epoch; what is left over for an incomplete batch, other images each time, is not used."""
        return images // self.recipe.batch_size

    def batches(self, images: Images) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of this epoch that are still to come: augmented, normalised images, and labels.

        Labels are (n,), or with CutMix (n, classes), the share of each class in the pixels.
        """
        size, steps, device = self.recipe.batch_size, self.steps(len(images)), self.hardware.device
        if self.order is None:
            self.order = torch.randperm(len(images), generator=self.generator)
        if self.draws is None:
            self.draws = self.augmentation.draw(steps * size, self.generator)
        for first in range(self.start, steps, self.hardware.chunk):
            chunk = slice(first * size, min(first + self.hardware.chunk, steps) * size)
            chosen, draws = self.order[chunk].to(device), self.draws[chunk]
            pixels = self.augmentation.augment(images.pixels[chosen], draws)
            labels, draws = images.labels[chosen], draws.to(device)
            for batch in zip(pixels.split(size), labels.split(size), draws.split(size), strict=True):
                self.set_learning_rate(self.epoch + self.start / steps)
                mixed, targets = self.augmentation.mix(*batch, len(images.classes))
                yield images.normalise(mixed), targets

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One step of gradient descent on the cross-entropy, for mixed labels the mean over their shares."""
        self.descend(images, labels)
        self.start += 1

    def _descend(self, images: Tensor, labels: Tensor) -> None:
        """What a step does on the device; `self.descend` does it, on CUDA devices as one graph."""
        with self.hardware.autocast():
            logits = self.model(images.contiguous(memory_format=self.hardware.layout))
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.totals.add(loss, logits, labels)

    def begin_epoch(self) -> None:
        """Set the mode of the network, which evaluation has changed."""
        self.model.train()

    def set_learning_rate(self, epochs: float) -> None:
        """Set the learning rate of the next step, when so many epochs are done."""
        rate = learning_rate(self.recipe, epochs)
        if rate == self.rate:
            return
        self.rate = rate
        for group in self.optimiser.param_groups:
            group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate

    def end_epoch(self, metrics: dict[str, float]) -> None:
        """Count the epoch, with what was measured at its end."""
        self.epoch, self.start, self.order, self.draws = self.epoch + 1, 0, None, None
        self.totals.set()
        self.history.append(metrics)

    def check_loss(self, classes: int) -> None:
        """Refuse to go on once the network is lost: its loss or a weight is no number, or the loss exploded.

        A loss above ten times that of guessing, ln(classes), counts as exploded.

        Raises:
            UserError: with the epoch.
        """
        loss, _ = self.totals.means()
        finite = all(weights.isfinite().all() for weights in self.model.state_dict().values())
        if not finite or not loss <= 10 * math.log(classes):
            lost = f"the loss is {loss:.4g} in epoch {self.epoch + 1}{'' if finite else ', weights are no numbers'}"
            kept = f"epoch {self.epoch} is kept" if self.epoch else "nothing was saved"
            raise UserError(
                f"{lost}; {kept}, and the same command would come to the same end: "
                f"try a lower recipe.lr than {self.recipe.lr} in another run_dir"
            )


@torch.inference_mode()
def evaluate(model: nn.Module, images: Images, hardware: Hardware, batch_size: int = 1000) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of a model in evaluation mode, over all images."""
    model.eval()
    totals = Totals.zero(hardware.device)
    with progress("accuracy", len(images), delay=5) as bar:
        for start in range(0, len(images), batch_size):
            batch = images.normalise(images.pixels[start : start + batch_size])
            labels = images.labels[start : start + batch_size]
            with hardware.autocast():
                logits = model(batch.contiguous(memory_format=hardware.layout)).float()
            totals.add(F.cross_entropy(logits, labels), logits, labels)
            bar.update(len(labels))
    return totals.means()
