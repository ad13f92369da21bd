"""What the jobs of a sweep share: what became of each, the cores, and the command that compares them."""

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omegaconf import DictConfig

from equivariance.files import write_atomic
from equivariance.study.cli.messages import one_line
from equivariance.study.config import REPOSITORY

TALLY = "EQUIVARIANCE_TALLY"  # names a file with a line for each job of the sweep that is over: outcome, folder
FAILED = "failed.txt"  # in the folder of a measurement that failed in a sweep over many networks


@contextmanager
def recorded(folder: Path) -> Iterator[None]:
    """Write the reason of a failure inside, in one line, to the folder's failed.txt, and let the sweep go on.

    The next sweep tries again. A sweep in which every job failed ends with an error.
    """
    try:
        yield
    except Exception as error:  # whatever a network raises
        text = one_line(error) if str(error).strip() else type(error).__name__
        write_atomic(folder / FAILED, text + "\n")
        print(f"failed: {text}")
        _note("failed", folder)
    else:
        (folder / FAILED).unlink(missing_ok=True)
        _note("passed", folder)


def note_measured(folder: Path) -> None:
    """Have the end of the sweep say how this measurement is compared with the others."""
    _note("measured", folder)


def _note(outcome: str, folder: Path) -> None:
    """Add a job's outcome to the sweep's tally, which jobs in other processes of this machine share."""
    if TALLY in os.environ:
        with suppress(OSError), open(os.open(os.environ[TALLY], os.O_WRONLY | os.O_APPEND), "w") as tally:
            tally.write(f"{outcome}\t{folder}\n")


def comparison(folders: list[Path]) -> str | None:
    """The command that draws these measurements in one figure; None for fewer than two.

    They are named by the folder that they lie in where it holds no others, else one by one.
    """
    folders = sorted({_from_here(each) for each in folders})
    if len(folders) < 2:
        return None
    above = Path(os.path.commonpath(folders))
    alone = sorted(file.parent for file in above.rglob("results.csv")) == folders
    named = shlex.join(map(str, [above] if alone else folders))
    epochs = {re.sub(r"-epoch\d+$", "", each.name) for each in folders}
    by = " --by epoch" if len(epochs) < len({each.name for each in folders}) else ""
    return f"python {_from_here(REPOSITORY / 'scripts/compare.py')} {named}{by}"


def _from_here(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def limit_cores(launcher: DictConfig) -> None:
    """Have `joblib.cpu_count` say how many cores the job may use, where the operating system would let it use all.

    A job of Slurm has the cores that it asked for; joblib's jobs share those of the machine.
    """
    import joblib  # here, as --help does not need it

    if "LOKY_MAX_CPU_COUNT" in os.environ:  # by a user, or for the job before in this process
        return
    given = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE", "")
    cores = int(given) if given.isdecimal() else joblib.cpu_count()
    if "Joblib" in launcher._target_:
        jobs = launcher.n_jobs or 1
        cores //= jobs if jobs > 0 else max(cores + 1 + jobs, 1)  # -1: as many jobs as cores
    os.environ["LOKY_MAX_CPU_COUNT"] = str(max(cores, 1))
