"""Entry points: Hydra's, for train.py and measure.py, and that of scripts. Errors in one line, exit codes."""

import functools
import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from equivariance import progress
from equivariance.errors import UserError
from equivariance.study.checkout import CONF
from equivariance.study.cli.messages import check, choices, is_expected, one_line
from equivariance.study.cli.signals import end_with_parent
from equivariance.study.cli.sweeps import FAILED, TALLY, comparison, limit_cores

FLAGS = ("-m", "--multirun")  # options of Hydra without a value, which may stand anywhere
GROUPS = ("dataset", "model", "aug", "recipe", "measure")
FULL_ERROR = "HYDRA_FULL_ERROR"


def entrypoint(task: Callable[[DictConfig], None]) -> Callable[[], None]:
    """`hydra.main` on conf/config.yaml; expected failures end in one line on stderr and exit code 1.

    `HYDRA_FULL_ERROR=1` shows the traceback instead.
    """
    failed: list[str] = []
    full_error = os.environ.get(FULL_ERROR) == "1"

    @functools.wraps(task)
    def job(cfg: DictConfig) -> None:
        try:
            _prepare_process(HydraConfig.get().launcher)
            check(cfg)
            task(cfg)
        except Exception as error:
            if full_error:
                raise
            _end_job(error, failed)

    @functools.wraps(task)
    def run() -> None:
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # a user's own modules lie where the command is run
        hydra_main = hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)
        if full_error:
            hydra_main()
            return
        try:
            _run_all(hydra_main)
        except KeyboardInterrupt:
            sys.exit(130)
        except Exception as error:
            if not is_expected(error):
                raise
            sys.exit(f"{_program()}: {one_line(error)}")
        if failed:
            sys.exit(f"{_program()}: {len(failed)} failed: {'; '.join(failed)}")

    return run


def command_line(main: Callable[..., None]) -> None:
    """Call a script's `main` with the words of the command line; expected failures end in one line on stderr.

    Words that are not its arguments end in the script's docstring; so does --help, without an error.
    """
    words = sys.argv[1:]
    if {"-h", "--help"} & {*words}:
        print(main.__globals__["__doc__"].strip())
        return
    try:
        inspect.signature(main).bind(*words)
    except TypeError:
        sys.exit(main.__globals__["__doc__"])
    _draw_without_screen()
    try:
        main(*words)
    except BrokenPipeError:  # whoever reads has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if not is_expected(error):
            raise
        sys.exit(f"{_program()}: {one_line(error)}")


def _prepare_process(launcher: DictConfig) -> None:
    """Before a job: how many cores it may use, what it shows, and with whom it ends."""
    _draw_without_screen()
    if "Joblib" in launcher._target_:
        end_with_parent()  # joblib's processes would wait for ever for a parent that was killed
    limit_cores(launcher)
    progress.shared_terminal = "BasicLauncher" not in launcher._target_


def _draw_without_screen() -> None:
    """Figures go to files: no window, whatever Matplotlib is set to."""
    os.environ["MPLBACKEND"] = "Agg"
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use("Agg")


def _end_job(error: Exception, failed: list[str]) -> None:
    """Say why a job has failed. The other jobs of a sweep go on; their failures are listed in `failed`."""
    job, expected = HydraConfig.get(), is_expected(error)
    if job.mode is RunMode.RUN:
        if not expected:
            raise error
        sys.exit(f"{_program()}: {one_line(error)}")
    if not expected:
        traceback.print_exception(error)
    cause = f"{job.runtime.output_dir}: {one_line(error) if expected else repr(error)}"
    print(f"{_program()} {cause}", file=sys.stderr)
    if "BasicLauncher" not in job.launcher._target_:  # another process: Hydra carries the failure over
        raise UserError(f"failed: {cause}") from None
    failed.append(job.runtime.output_dir)


def _run_all(hydra_main: Callable[[], None]) -> None:
    """Run the job, or all jobs of a sweep, and say how measurements are compared."""
    os.environ[FULL_ERROR] = "1"  # have Hydra raise, so that the message is ours
    sys.argv[1:] = sorted(sys.argv[1:], key=_is_override)  # argparse wants options before them
    if without := next((group for group in GROUPS if f"{group}=null" in sys.argv), None):
        raise UserError(f"{without}=null: {choices(without)}")  # of which Hydra only says that it is no string
    with tempfile.NamedTemporaryFile("r") as tally:
        os.environ[TALLY] = tally.name
        hydra_main()
        outcomes = [line.partition("\t") for line in tally.read().splitlines()]
    if outcomes and all(outcome == "failed" for outcome, _, _ in outcomes):
        raise UserError(f"all {len(outcomes)} failed: each job's folder has the reason in {FAILED}")
    if command := comparison([Path(folder) for outcome, _, folder in outcomes if outcome == "measured"]):
        print(f"to compare them: {command}")


def _is_override(word: str) -> bool:
    """Not an option of Hydra that is one word: -m, --config-dir=FOLDER."""
    return word not in FLAGS and not (word.startswith("--") and "=" in word)


def _program() -> str:
    """The name of the script that runs, to begin its error messages with."""
    return Path(sys.argv[0]).name
