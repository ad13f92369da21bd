"""The recipe of a training run: which values go together, the optimiser, and the learning rate of each step."""

import torch
from torch import nn

from equivariance.errors import UserError
from equivariance.study.config import RANGES, Recipe, shown

USERS = {  # of keys that only one optimiser or schedule uses; null with another one
    "momentum": ("optimiser", "sgd"),
    "milestones": ("schedule", "milestones"),
    "factor": ("schedule", "milestones"),
    "warm_up": ("schedule", "one_cycle"),
}


def check_recipe(recipe: Recipe, images: int) -> None:
    """Refuse a recipe that cannot be trained on so many images; `config.RANGES` has checked single values."""

    def require(key: str, holds: bool, why: str) -> None:
        if not holds:
            raise UserError(f"recipe.{key}={shown(getattr(recipe, key))}: {why}")

    require("batch_size", recipe.batch_size <= images, f"larger than the training set of {images} images")
    used = {key: getattr(recipe, choice) == user for key, (choice, user) in USERS.items()}
    for key in filter(used.get, used):
        require(key, getattr(recipe, key) is not None, RANGES[f"recipe.{key}"][1].removesuffix(", or null"))
    inside = recipe.warm_up is None or recipe.warm_up < recipe.epochs
    require("warm_up", inside, f"needs a number of epochs above 0 and below recipe.epochs={recipe.epochs}")
    if idle := [f"recipe.{key}" for key in used if not used[key] and getattr(recipe, key) is not None]:
        chosen = f"recipe.optimiser={recipe.optimiser} recipe.schedule={recipe.schedule}"
        nulls = " ".join(f"{key}=null" for key in idle)
        raise UserError(f"{' and '.join(idle)}: not used with {chosen}; give {nulls}")
    kept = all(epoch <= recipe.epochs for epoch in recipe.keep)
    require("keep", kept, f"needs whole numbers of epochs from 0 to recipe.epochs={recipe.epochs}")


def optimiser(recipe: Recipe, model: nn.Module, captured: bool = False) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD with momentum, on every parameter.

    Weight decay is an L2 term of the gradient (coupled). With AdamW it is decoupled: weights shrink by
    lr * weight_decay in a step (Loshchilov & Hutter 2019).

    Args:
        captured: make the learning rate a tensor, which a captured step reads.
    """
    lr = torch.tensor(recipe.lr, device=next(model.parameters()).device) if captured else recipe.lr
    if recipe.optimiser in ("adam", "adamw"):
        adaptive = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
        return adaptive(model.parameters(), lr, weight_decay=recipe.weight_decay, fused=True, capturable=captured)
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
