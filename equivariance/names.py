"""The words that rows, figures and verdicts share: parts of a network, scores, similarities."""

PARTS = ("early", "middle", "late", "pool", "final")  # of a network, in the order of its layers
BEFORE_POOLING = PARTS[:3]
SCORES = ("invariance", "equivariance")  # of the papers
NESTED = (*SCORES, "linear")  # all scores, each at most as large as the next
SIMILARITIES = ("pearson", "cosine")
OVER = ("image", "image_relu", "image_max", "dataset")  # over what a correlation runs, see scores.statistics
