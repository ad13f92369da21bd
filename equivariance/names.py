"""The words that rows, figures and verdicts share: parts of a network, scores, similarities, columns."""

from itertools import product

PARTS = ("early", "middle", "late", "pool", "final")  # of a network, in the order of its layers
HEAD = PARTS[-2:]  # what enters the classifier, and the logits: layers that are parts themselves
BEFORE_POOLING = PARTS[:3]
SCORES = ("invariance", "equivariance")  # of the papers
NESTED = (*SCORES, "linear")  # all scores, each at most as large as the next
SIMILARITIES = ("pearson", "cosine")
OVER = ("image", "image_relu", "image_max", "dataset")  # over what a correlation runs, see `statistics`
UNITS = {  # what an element of a transformation is, on an axis
    "rotation": "angle (degrees)",
    "continuous rotation": "angle (degrees)",
    "translation": "shift (pixels)",
    "relative translation": "shift (share of the side)",
    "sub-pixel shift": "shift (pixels)",
    "scaling": "scale",
}
ELEMENTS = {  # the same where the overlap is not what is compared, or maps are not lined up
    f"{aligned}{border}{name}": UNITS[name]
    for aligned, border, name in product(("", "unaligned "), ("", "full ", "circular "), UNITS)
}

SCORE_COLUMNS = [
    # where in the network, and how
    *("layer", "index", "part", "stride", "transform", "element", "score", "similarity", "over"),
    # the result, in [0, 1]: score, its cross-fitted value, chance level, 95 % confidence interval over images, and
    # what the score would be if interpolation alone took part in it (not known for exact transformations)
    *("value", "cross_fitted", "chance", "low", "high", "control"),
    # of the layer `final`, shares of images: whose predicted class stays, and is right, under this element, and
    # under all elements at once
    *("agreement", "top1", "agreement_worst", "top1_worst"),
    # mean of the feature maps
    "activation",
    # over how many images and channels; dead: without variance everywhere; live: mean share with variance
    *("images", "channels", "dead_channels", "live"),
]
COLUMNS = [  # of results.csv
    # what was measured
    *("experiment", "dataset", "model", "aug", "width", "trained", "seed"),
    *SCORE_COLUMNS,
    # where it comes from; epochs, accuracy and precision are those of the training, epoch the one measured;
    # trained_on: every stretch of the training with its hardware, threads and versions; ended: with `until`, why
    # there are no more images, and the widest bracket of each part
    *("epoch", "epochs", "accuracy", "precision", "trained_on", "git_commit", "torch_version", "hardware", "ended"),
]

NAME_NEEDS = "needs a word that begins with none of = + - @, which a spreadsheet would run"


def is_name(name: object) -> bool:
    """Whether a word can name a network, data set or layer in rows, which others open in a spreadsheet."""
    return isinstance(name, str) and name.isprintable() and name[:1] not in ("", *"=+-@")
