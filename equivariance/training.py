"""The parts of a training run: recipe, order of the images, one step, evaluation."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn

from equivariance.data import Images
from equivariance.errors import UserError
from equivariance.hardware import Hardware


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
    for key, lowest in (("lr", 0), ("factor", 0), ("weight_decay", None)):
        value = recipe[key]
        if not isinstance(value, int | float) or value < 0 or value == lowest:
            refuse(key, f"needs a number {'from 0 on' if lowest is None else 'above 0'}")
    if recipe.optimiser not in ("adam", "sgd"):
        refuse("optimiser", "choose adam or sgd")


def optimiser(recipe: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam or SGD with momentum, weight decay as an L2 term of the gradient (coupled), on every parameter."""
    common = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), **common)
    return torch.optim.SGD(model.parameters(), momentum=recipe.momentum, **common)


def learning_rate(recipe: DictConfig, epoch: int) -> float:
    """lr / factor^k in the epoch with index `epoch` (from 0), k the number of milestones reached."""
    return recipe.lr / recipe.factor ** sum(epoch >= milestone for milestone in recipe.milestones)


@dataclass
class Totals:
    """Running sums of one pass over images; on the device, so that nothing waits for it."""

    loss: Tensor
    correct: Tensor
    images: int = 0

    @classmethod
    def zero(cls, device: torch.device) -> "Totals":
        return cls(torch.zeros((), device=device), torch.zeros((), dtype=torch.long, device=device))

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self.loss += loss.detach() * len(labels)
        self.correct += (logits.detach().argmax(1) == labels).sum()
        self.images += len(labels)

    def means(self) -> tuple[float, float]:
        """Mean loss, and accuracy in [0, 1]."""
        return self.loss.item() / self.images, self.correct.item() / self.images


@dataclass
class Step:
    """One step of gradient descent; calling it with a batch updates the model in place."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    hardware: Hardware
    totals: Totals = field(init=False)

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        with self.hardware.autocast():
            logits = self.model(images.contiguous(memory_format=self.hardware.layout))
        loss = F.cross_entropy(logits.float(), labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.totals.add(loss, logits, labels)


@torch.inference_mode()
def evaluate(model: nn.Module, images: Images, hardware: Hardware, batch_size: int = 1000) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of a model in evaluation mode, over all images."""
    model.eval()
    totals = Totals.zero(hardware.device)
    for start in range(0, len(images), batch_size):
        batch = images.normalise(images.pixels[start : start + batch_size])
        labels = images.labels[start : start + batch_size]
        with hardware.autocast():
            logits = model(batch.contiguous(memory_format=hardware.layout)).float()
        totals.add(F.cross_entropy(logits, labels), logits, labels)
    return totals.means()
