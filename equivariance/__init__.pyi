"""The public names, declared once: for type checkers, and read by `__init__.py`."""

from equivariance.errors import UserError as UserError
from equivariance.figures.compare import plot_compare as plot_compare
from equivariance.figures.depth import plot_depth as plot_depth
from equivariance.figures.score_drops import score_drops as score_drops
from equivariance.figures.similarity import plot_similarity as plot_similarity
from equivariance.figures.summary import summary as summary
from equivariance.layers.find import find_layers as find_layers
from equivariance.metric.equivariance import Equivariance as Equivariance
from equivariance.metric.measure import measure as measure
from equivariance.metric.similarity import similarity as similarity
from equivariance.transforms.sets import dihedral as dihedral
from equivariance.transforms.sets import mirrors as mirrors
from equivariance.transforms.sets import rotations as rotations
from equivariance.transforms.sets import scalings as scalings
from equivariance.transforms.sets import shifts as shifts
from equivariance.transforms.sets import subpixel_shifts as subpixel_shifts

__version__: str
