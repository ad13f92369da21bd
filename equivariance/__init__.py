"""Learned equivariance: how much of a network's response to shifts and rotations is learned.

    import equivariance as eq

    table = eq.measure(model, images, eq.rotations())
    eq.plot_depth(table)

A name is imported when it is first used, so that `import equivariance` alone loads neither PyTorch nor Matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers, what `_HOME` says
    from equivariance.errors import UserError as UserError
    from equivariance.figures.compare import plot_compare as plot_compare
    from equivariance.figures.depth import plot_depth as plot_depth
    from equivariance.figures.score_drops import score_drops as score_drops
    from equivariance.figures.similarity import plot_similarity as plot_similarity
    from equivariance.layers.find import find_layers as find_layers
    from equivariance.metric.equivariance import Equivariance as Equivariance
    from equivariance.metric.measure import measure as measure
    from equivariance.metric.similarity import similarity as similarity
    from equivariance.transforms.exact import dihedral as dihedral
    from equivariance.transforms.exact import mirrors as mirrors
    from equivariance.transforms.exact import rotations as rotations
    from equivariance.transforms.exact import shifts as shifts
    from equivariance.transforms.interpolated import scalings as scalings
    from equivariance.transforms.interpolated import subpixel_shifts as subpixel_shifts

__version__ = "0.2.0"

_HOME = {  # of each public name
    "Equivariance": "metric.equivariance",
    "UserError": "errors",
    "dihedral": "transforms.exact",
    "find_layers": "layers.find",
    "measure": "metric.measure",
    "mirrors": "transforms.exact",
    "plot_compare": "figures.compare",
    "plot_depth": "figures.depth",
    "plot_similarity": "figures.similarity",
    "rotations": "transforms.exact",
    "scalings": "transforms.interpolated",
    "score_drops": "figures.score_drops",
    "shifts": "transforms.exact",
    "similarity": "metric.similarity",
    "subpixel_shifts": "transforms.interpolated",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
