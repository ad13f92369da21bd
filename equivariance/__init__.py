"""Learned equivariance: how much of a network's response to shifts and rotations is learned.

    import equivariance as eq

    table = eq.measure(model, images, eq.rotations())
    eq.plot_depth(table)

A name is imported when it is first used, so that `import equivariance` alone loads neither PyTorch nor Matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers, what `_HOME` says
    from equivariance.analysis.compare import plot_compare as plot_compare
    from equivariance.analysis.losses import losses as losses
    from equivariance.analysis.plots import plot_depth as plot_depth
    from equivariance.analysis.plots import plot_similarity as plot_similarity
    from equivariance.errors import UserError as UserError
    from equivariance.layers.find import find_layers as find_layers
    from equivariance.scores.between import similarity as similarity
    from equivariance.scores.continuous import scalings as scalings
    from equivariance.scores.continuous import subpixel_shifts as subpixel_shifts
    from equivariance.scores.measure import measure as measure
    from equivariance.scores.metric import Equivariance as Equivariance
    from equivariance.scores.transforms import dihedral as dihedral
    from equivariance.scores.transforms import mirrors as mirrors
    from equivariance.scores.transforms import rotations as rotations
    from equivariance.scores.transforms import shifts as shifts

__version__ = "0.2.0"

_HOME = {  # of each public name
    "Equivariance": "scores.metric",
    "UserError": "errors",
    "dihedral": "scores.transforms",
    "find_layers": "layers.find",
    "losses": "analysis.losses",
    "measure": "scores.measure",
    "mirrors": "scores.transforms",
    "plot_compare": "analysis.compare",
    "plot_depth": "analysis.plots",
    "plot_similarity": "analysis.plots",
    "rotations": "scores.transforms",
    "scalings": "scores.continuous",
    "shifts": "scores.transforms",
    "similarity": "scores.between",
    "subpixel_shifts": "scores.continuous",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
