"""The recipe of a training run: its ranges, the optimiser, and the learning rate of each step."""

import math

import torch
from torch import nn

from equivariance.config import Recipe
from equivariance.errors import UserError

OPTIMISERS = ("adam", "sgd")
SCHEDULES = ("milestones", "one_cycle")


def check_recipe(recipe: Recipe, images: int) -> None:
    """Refuse a recipe that cannot be trained on so many images; the schema has checked the types.

    Raises:
        UserError: a value is out of its range, or one that the optimiser or the schedule needs is missing.
    """

    def require(key: str, holds: bool, why: str) -> None:
        if not holds:
            value = getattr(recipe, key)
            raise UserError(f"recipe.{key}={f'{value:g}' if isinstance(value, float) else value}: {why}")

    def number(key: str, holds: bool, why: str) -> None:
        value = getattr(recipe, key)
        require(key, value is not None and math.isfinite(value) and holds, f"needs a number {why}")

    for key in ("epochs", "batch_size"):
        require(key, getattr(recipe, key) >= 1, "needs a whole number from 1 on")
    require("batch_size", recipe.batch_size <= images, f"larger than the training set of {images} images")
    number("lr", recipe.lr > 0, "above 0")
    number("weight_decay", recipe.weight_decay >= 0, "from 0 on")
    require("optimiser", recipe.optimiser in OPTIMISERS, f"choose {' or '.join(OPTIMISERS)}")
    if recipe.optimiser == "sgd" or recipe.momentum is not None:
        number("momentum", recipe.momentum is not None and 0 <= recipe.momentum < 1, "from 0 to below 1")
    require("schedule", recipe.schedule in SCHEDULES, f"choose {' or '.join(SCHEDULES)}")
    if recipe.schedule == "one_cycle":
        inside = recipe.warm_up is not None and 0 < recipe.warm_up < recipe.epochs
        number("warm_up", inside, f"of epochs above 0 and below recipe.epochs={recipe.epochs}")
    else:
        milestones = recipe.milestones
        rising = milestones is not None and milestones == sorted({*milestones}) and min(milestones, default=1) > 0
        require("milestones", rising, "needs a rising list of whole numbers from 1 on, such as [100,150]")
        number("factor", recipe.factor is not None and recipe.factor > 0, "above 0")
    kept = all(0 <= epoch <= recipe.epochs for epoch in recipe.keep)
    require("keep", kept, f"needs whole numbers of epochs from 0 to recipe.epochs={recipe.epochs}")


def optimiser(recipe: Recipe, model: nn.Module, captured: bool = False) -> torch.optim.Optimizer:
    """Adam or SGD with momentum, weight decay as an L2 term of the gradient (coupled), on every parameter.

    Args:
        captured: make the learning rate a tensor, which a captured step reads.
    """
    lr = torch.tensor(recipe.lr, device=next(model.parameters()).device) if captured else recipe.lr
    if recipe.optimiser == "adam":
        return torch.optim.Adam(
            model.parameters(), lr, weight_decay=recipe.weight_decay, fused=True, capturable=captured
        )
    momentum = recipe.momentum or 0.0
    return torch.optim.SGD(model.parameters(), lr, momentum, weight_decay=recipe.weight_decay, fused=True)


def learning_rate(recipe: Recipe, epochs: float) -> float:
    """The learning rate of a step.

    `milestones`: lr / factor^k, where k is the number of milestones reached. `one_cycle`: from 0 up to lr over
    `warm_up` epochs, then down to 0 at the end, both linearly (Smith & Topin, "Super-convergence", 2018).

    Args:
        epochs: completed before this step, with the completed share of the current epoch.
    """
    if recipe.schedule == "one_cycle":
        assert recipe.warm_up is not None
        return recipe.lr * min(epochs / recipe.warm_up, (recipe.epochs - epochs) / (recipe.epochs - recipe.warm_up))
    assert recipe.milestones is not None and recipe.factor is not None
    return recipe.lr / recipe.factor ** sum(epochs >= milestone for milestone in recipe.milestones)
