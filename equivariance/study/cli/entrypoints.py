"""Entry points: Hydra's, for train.py and measure.py, and that of scripts. Errors in one line, exit codes."""

import functools
import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from equivariance import progress
from equivariance.errors import UserError
from equivariance.study.cli import jobs  # noqa: F401, registers what conf/ refers to
from equivariance.study.cli.messages import check, check_files, is_expected, one_line
from equivariance.study.cli.signals import end_with_parent
from equivariance.study.cli.sweeps import FAILED, TALLY, comparison, limit_cores
from equivariance.study.cli.words import help_text, prepared
from equivariance.study.config import CONF
from equivariance.study.identity import of_run, options

FULL_ERROR = "HYDRA_FULL_ERROR"
WITH_TRACEBACKS = os.environ.get(FULL_ERROR) == "1"  # asked here, as Hydra is told to raise
HELP = {"-h", "--help"}


@contextmanager
def one_line_errors() -> Iterator[None]:
    """The one place that decides what a user sees: from here an error leaves as one line, with exit code 1.

    A bug keeps its traceback, before that line. `HYDRA_FULL_ERROR=1` shows every traceback.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever reads has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if WITH_TRACEBACKS:
            raise
        if not is_expected(error):
            traceback.print_exception(error)
        sys.exit(f"{_program()}: {one_line(error)}")


def entrypoint(task: Callable[[DictConfig], None]) -> Callable[[], None]:
    """`hydra.main` on conf/config.yaml, within `one_line_errors`; the jobs of a sweep fail one by one."""
    failed: list[str] = []

    @functools.wraps(task)
    def job(cfg: DictConfig) -> None:
        if HydraConfig.get().mode is RunMode.RUN:
            with one_line_errors():  # here already, as Hydra would print more
                _run_job(task, cfg)
            return
        try:
            _run_job(task, cfg)
        except Exception as error:
            _end_job(error, cfg, failed)

    @functools.wraps(task)
    def run() -> None:
        with one_line_errors():
            _run_all(job)
            if failed:
                raise UserError(f"{len(failed)} failed: {'; '.join(failed)}")

    return run


def answer_help(program: str, text: str) -> None:
    """Where --help asks for it, print a script's docstring and end: before the script imports what takes seconds.

    Args:
        program: the script's `__name__`.
    """
    if program == "__main__" and HELP & {*sys.argv[1:]}:
        with one_line_errors():
            print(text.strip(), flush=True)
        sys.exit()


def command_line(main: Callable[..., None]) -> None:
    """Call a script's `main` with the words of the command line, within `one_line_errors`.

    Words that are not its arguments end in the script's docstring; so does --help, without an error.
    """
    words = sys.argv[1:]
    answer_help("__main__", main.__globals__["__doc__"])
    try:
        inspect.signature(main).bind(*words)
    except TypeError:
        sys.exit(main.__globals__["__doc__"])
    with one_line_errors():
        _draw_without_screen()
        main(*words)


def _run_all(job: Callable[[DictConfig], None]) -> None:
    """Run the job, or all jobs of a sweep, and say how measurements are compared."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        raise UserError("the current folder is gone: cd to one that is there") from None
    if here not in sys.path:
        sys.path.append(here)  # a user's own modules lie where the command is run
    os.environ[FULL_ERROR] = "1"  # have Hydra raise, so that the message is ours
    words = sys.argv[1:]
    if HELP & {*words}:
        print(help_text(_program(), words))
        return
    sys.argv[1:] = prepared(words)
    with tempfile.NamedTemporaryFile("r") as tally:
        os.environ[TALLY] = tally.name
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
        outcomes = [line.partition("\t") for line in tally.read().splitlines()]
    if outcomes and all(outcome == "failed" for outcome, _, _ in outcomes):
        raise UserError(f"all {len(outcomes)} failed: each job's folder has the reason in {FAILED}")
    if command := comparison([Path(folder) for outcome, _, folder in outcomes if outcome == "measured"]):
        print(f"to compare them: {command}")


def _run_job(task: Callable[[DictConfig], None], cfg: DictConfig) -> None:
    """Prepare the process, complete and check the configuration, and run the task."""
    _draw_without_screen()
    hydra_config = HydraConfig.get()
    launcher = hydra_config.launcher
    if "Joblib" in launcher._target_:
        end_with_parent()  # joblib's processes would wait for ever for a parent that was killed
    limit_cores(launcher)
    progress.shared_terminal = "BasicLauncher" not in launcher._target_
    check_files(hydra_config.runtime.choices, hydra_config.runtime.config_sources)
    if cfg.run is not None:
        cfg = of_run(cfg)
    check(cfg)
    cfg.measure.options = options(hydra_config.overrides.task, hydra_config.sweeper.params or {})
    task(cfg)


def _draw_without_screen() -> None:
    """Figures go to files: no window, whatever Matplotlib is set to."""
    os.environ["MPLBACKEND"] = "Agg"
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use("Agg")


def _end_job(error: Exception, cfg: DictConfig, failed: list[str]) -> None:
    """Say why a job of a sweep has failed. The others go on; the failures are listed in `failed`."""
    expected = is_expected(error)
    try:
        place = str(cfg.run or cfg.run_dir)
    except OmegaConfBaseException:
        place = f"job {HydraConfig.get().job.num}"
    if not expected:
        traceback.print_exception(error)
    print(f"{_program()} {place}: {one_line(error)}", file=sys.stderr)
    # in another process: Hydra carries the failure over
    if "BasicLauncher" not in HydraConfig.get().launcher._target_:
        raise UserError(f"failed: {place}: {one_line(error)}") from None
    failed.append(place)


def _program() -> str:
    """The name of the script that runs, to begin its error messages with."""
    return Path(sys.argv[0]).name
