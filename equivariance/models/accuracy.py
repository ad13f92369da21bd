"""Is a network with published weights as accurate as published?"""

from omegaconf import DictConfig

from equivariance.errors import UserError


def check_accuracy(model: DictConfig, correct: int, images: int) -> None:
    """Refuse a network whose accuracy is far below the one that is published for its weights.

    Far: by more than 5 points and four standard errors of the accuracy on this many images.

    Raises:
        UserError: it is set up wrongly: other weights, other preprocessing, other classes.
    """
    published = (model.get("published") or {}).get("top1")
    if images < 32 or published is None:
        return
    top1, published = correct / images, published / 100
    if top1 < published - 0.05 - 4 * (published * (1 - published) / images) ** 0.5:
        raise UserError(
            f"{model.name} is right on {top1:.1%} of {images} images, published are {published:.1%} "
            f"({model.published.source}): wrong weights, preprocessing or classes; "
            "model.published=null measures it all the same"
        )
