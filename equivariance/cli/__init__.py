"""The command line: entry points, one-line errors, graceful interruption, sweeps.

Nothing here loads PyTorch. An entry point imports what is heavy inside its task, so that `--help`, `--cfg job` and
a misspelt key are answered at once.
"""

from equivariance.cli.entrypoints import command_line, entrypoint
from equivariance.cli.messages import one_line
from equivariance.cli.signals import stoppable
from equivariance.cli.sweeps import FAILED, note_measured, recorded
