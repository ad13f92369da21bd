"""Learned equivariance: how much of a network's response to shifts and rotations is learned.

    import equivariance as eq

    table = eq.measure(model, images, eq.rotations())
    eq.plot_depth(table)

A name is imported when it is first used, so that `import equivariance` alone loads neither PyTorch nor Matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equivariance.analysis.compare import plot_compare
    from equivariance.analysis.losses import losses
    from equivariance.analysis.plots import plot_depth
    from equivariance.analysis.similarity import plot_similarity
    from equivariance.errors import UserError
    from equivariance.layers.find import find_layers
    from equivariance.scores.between import similarity
    from equivariance.scores.continuous import scalings, subpixel_shifts
    from equivariance.scores.measure import measure
    from equivariance.scores.metric import Equivariance
    from equivariance.scores.transforms import dihedral, mirrors, rotations, shifts

__version__ = "0.2.0"

__all__ = [
    "Equivariance",
    "UserError",
    "dihedral",
    "find_layers",
    "losses",
    "measure",
    "mirrors",
    "plot_compare",
    "plot_depth",
    "plot_similarity",
    "rotations",
    "scalings",
    "shifts",
    "similarity",
    "subpixel_shifts",
]

_HOME = {  # of each public name; the imports above tell type checkers the same
    "Equivariance": "scores.metric",
    "UserError": "errors",
    "dihedral": "scores.transforms",
    "find_layers": "layers.find",
    "losses": "analysis.losses",
    "measure": "scores.measure",
    "mirrors": "scores.transforms",
    "plot_compare": "analysis.compare",
    "plot_depth": "analysis.plots",
    "plot_similarity": "analysis.similarity",
    "rotations": "scores.transforms",
    "scalings": "scores.continuous",
    "shifts": "scores.transforms",
    "similarity": "scores.between",
    "subpixel_shifts": "scores.continuous",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
