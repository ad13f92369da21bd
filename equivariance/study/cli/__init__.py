"""The command line: entry points, one-line errors, graceful interruption, sweeps.

Nothing here loads PyTorch. An entry point imports what is heavy inside its task, so that `--help`, `--cfg job` and
a misspelt key are answered at once.
"""

from equivariance.study.cli.entrypoints import answer_help, command_line, entrypoint
from equivariance.study.cli.messages import one_line
from equivariance.study.cli.signals import stoppable
from equivariance.study.cli.sweeps import FAILED, note_measured, recorded
