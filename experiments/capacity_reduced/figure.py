"""The figures of experiments/capacity for the reduced training."""

from functools import partial

from experiments.capacity.figure import figures as of_capacity

figures = partial(
    of_capacity,
    network="Reduced: WRN-16, 15 epochs",
    names={f"wrn16-{width}": f"width {width}" for width in (1, 2, 4)},
)
