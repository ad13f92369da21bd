"""Hydra entry point: errors in one line, exit codes, progress, graceful interruption.

The module loads no PyTorch. An entry point imports what is heavy inside its task, so that `--help`, `--cfg job` and
a misspelt key are answered at once.
"""

import difflib
import functools
import inspect
import os
import re
import shlex
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from equivariance import progress
from equivariance.checkout import CONF, REPOSITORY
from equivariance.config import SCHEMA, check_ranges, experiment, needs, shown
from equivariance.errors import UserError
from equivariance.runs.atomic import write_atomic

__all__ = [
    "FAILED",
    "command_line",
    "entrypoint",
    "experiment",
    "note_measured",
    "one_line",
    "recorded",
    "stoppable",
]

TALLY = "EQUIVARIANCE_TALLY"  # names a file with a line for each job of the sweep that is over: outcome, folder
FAILED = "failed.txt"  # in the folder of a measurement that failed in a sweep over many networks
EXPECTED = (UserError, HydraException, OmegaConfBaseException)
FLAGS = ("-m", "--multirun")  # options of Hydra without a value, which may stand anywhere
MOST_LISTED = 8  # folders of measurements in a command
GROUPS = ("dataset", "model", "aug", "recipe", "measure")


def entrypoint(task: Callable[[DictConfig], None]) -> Callable[[], None]:
    """`hydra.main` on conf/config.yaml; expected failures end in one line on stderr and exit code 1.

    `HYDRA_FULL_ERROR=1` shows the traceback instead.
    """

    failed: list[str] = []

    @functools.wraps(task)
    def checked(cfg: DictConfig) -> None:
        try:
            launcher = HydraConfig.get().launcher
            if "Joblib" in launcher._target_:
                _end_with_parent()  # joblib's processes would wait for ever for a parent that was killed
            _limit_cores(launcher)
            check(cfg)
            progress.shared_terminal = "BasicLauncher" not in HydraConfig.get().launcher._target_
            task(cfg)
        except Exception as error:
            job, expected = HydraConfig.get(), _expected(error)
            if full_error or (job.mode is RunMode.RUN and not expected):
                raise
            if job.mode is RunMode.RUN:
                sys.exit(f"{_program()}: {one_line(error)}")
            if not expected:
                traceback.print_exc()
            cause = f"{job.runtime.output_dir}: {one_line(error) if expected else repr(error)}"
            print(f"{_program()} {cause}", file=sys.stderr)
            if "BasicLauncher" not in job.launcher._target_:  # another process: Hydra carries the failure over
                raise UserError(f"failed: {cause}") from None
            failed.append(job.runtime.output_dir)  # the other jobs of the sweep go on

    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"

    @functools.wraps(task)
    def run() -> None:
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # a user's own modules lie where the command is run
        hydra_main = hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(checked)
        if full_error:
            hydra_main()
            return
        os.environ["HYDRA_FULL_ERROR"] = "1"  # have Hydra raise, so that the message is ours
        try:
            sys.argv[1:] = sorted(sys.argv[1:], key=_is_override)  # argparse wants options before them
            without = _groups_set_to_null(sys.argv[1:])
            if without:
                raise UserError(f"{without}=null: {_choose(without)}")
            with tempfile.NamedTemporaryFile("r") as tally:
                os.environ[TALLY] = tally.name
                hydra_main()
                outcomes = [line.partition("\t") for line in tally.read().splitlines()]
            if outcomes and all(outcome == "failed" for outcome, _, _ in outcomes):
                raise UserError(f"all {len(outcomes)} failed: each job's folder has the reason in {FAILED}")
            if command := comparison([Path(folder) for outcome, _, folder in outcomes if outcome == "measured"]):
                print(f"to compare them: {command}")
        except KeyboardInterrupt:
            sys.exit(130)
        except Exception as error:
            if not _expected(error):
                raise
            sys.exit(f"{_program()}: {one_line(error)}")
        if failed:
            sys.exit(f"{_program()}: {len(failed)} failed: {'; '.join(failed)}")

    return run


def _is_override(word: str) -> bool:
    """Not an option of Hydra that is one word: -m, --config-dir=FOLDER."""
    return word not in FLAGS and not (word.startswith("--") and "=" in word)


def check(cfg: DictConfig) -> None:
    """Refuse a configuration that no task can do anything with, whatever it is.

    Raises:
        UserError: a key is missing or unknown, a value is out of its range, or a name would leave the folder of
            runs.
    """
    for name, schema in SCHEMA.items():
        if not OmegaConf.is_dict(cfg.get(name)):
            raise UserError(f"{name}={cfg.get(name)}: needs its keys, {', '.join(_keys_beside(f'{name}.'))}")
        for key in cfg[name]:
            if key not in {each.name for each in fields(schema)}:
                raise UserError(_unknown(f"{name}.{key}"))
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        values = " ".join(f"{key}=VALUE" for key in missing)
        raise UserError(f"no value for {', '.join(missing)}: give {values}")
    for group in ("dataset", "model", "aug"):
        if not OmegaConf.is_dict(cfg.get(group)):
            raise UserError(f"{group}={cfg.get(group)}: {_choose(group)}")
    check_ranges(cfg)
    for group in ("dataset", "model", "aug", "measure"):
        name = cfg[group].get("name")
        inside = isinstance(name, str | int) and str(name).isprintable() and Path(str(name)).parts
        if not inside or Path(str(name)).is_absolute() or ".." in Path(str(name)).parts:
            raise UserError(f"{group}.name={shown(name)}: needs a name for a folder inside runs_dir")


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
    try:
        main(*words)
    except BrokenPipeError:  # whoever reads has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if not _expected(error):
            raise
        sys.exit(f"{_program()}: {one_line(error)}")


def _expected(error: BaseException) -> bool:
    """Whether the user can mend what went wrong: a wrong input, or a file or folder that the system refuses."""
    system = isinstance(error, OSError) and error.filename is not None
    return isinstance(error, EXPECTED) or system or _of_submitit(error)


def _of_submitit(error: BaseException) -> bool:
    """Whether submitit raised it, which is what its jobs or Slurm's programs have said."""
    return type(error).__module__.startswith("submitit.")


def one_line(error: BaseException) -> str:
    """The message of an error of ours, Hydra's or OmegaConf's, without line breaks and with a way out."""
    text = str(error)
    if isinstance(error, UserError):
        return text
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{error.filename}: {error.strerror}; give a file or folder that can be used, such as runs_dir=FOLDER"
        )
    if _of_submitit(error) and "timed-out" in text:
        return "its time was over too often; the same command goes on, or give a longer hydra.launcher.timeout_min"
    if _of_submitit(error):
        return f"Slurm refused the jobs ({' '.join(text.split())}): hydra.launcher says what is asked for"
    if isinstance(error.__cause__, UserError):
        return str(error.__cause__)
    if unknown := re.search(r"Could not override '([\w.]+)'", text):
        return _unknown(unknown[1])
    if missing := re.search(r"Missing mandatory value: ([\w.]+)", text):
        return f"no value for {missing[1]}: give {missing[1]}=VALUE"
    choice = re.search(r"Could not find '(\w+)/([^']+)'\s+Available options in '\w+':\s+(.*?)\s+Config", text, re.S)
    if choice:
        group, name, options = choice.groups()
        return f"unknown {group} {name}: choose one of {', '.join(options.split())}"
    if target := re.search(r"Error locating target '(.*?)'.*full_key: ([\w.]+)", text, re.S):
        return f"{target[2]}._target_={target[1]}: there is no such class or function"
    if call := re.search(r"Error in call to target '.*?':\s+(.*?)\s+full_key: ([\w.]+)", text, re.S):
        return f"{call[2]}: {' '.join(call[1].split())}"
    if line := _wrong_type(text, str(error.__cause__)):
        return line
    return " ".join(text.split("Config search path")[0].split())


def _wrong_type(text: str, cause: str) -> str | None:
    """The line for a value, given on the command line or in a preset, that the schema does not allow."""
    where = re.search(r"full_key: ([\w.]+)", f"{cause}\n{text}")
    wanted = needs(where[1]) if where else None
    if not where or wanted is None:
        return None
    key = where[1]
    given = re.search(rf"Error merging override \+*{key}=(.*)", text)
    value = given or re.search(r"Value '(.*?)' ", f"{cause}\n{text}")
    preset = re.search(r"In '([\w/]+)'", text)
    place = f" (conf/{preset[1]}.yaml)" if preset and not given else ""
    return f"{key}={value[1] if value else '?'}: needs {wanted}{place}"


def _unknown(key: str) -> str:
    known = _keys_beside(key)
    close = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
    if close and close[0] == key.rpartition(".")[2]:  # another choice of the group has it
        return f"unknown key {key}: the chosen {key.partition('.')[0]} has none; +{key}=VALUE adds it"
    hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(known)}"
    return f"unknown key {key}: {hint}"


def _groups_set_to_null(words: list[str]) -> str | None:
    """The first group that is given as `GROUP=null`, of which Hydra only says that it is no string."""
    return next((group for group in GROUPS if f"{group}=null" in words), None)


def _choose(group: str) -> str:
    return f"choose one of {', '.join(sorted(file.stem for file in (CONF / group).glob('*.yaml')))}"


def _keys_beside(full_key: str) -> list[str]:
    """The keys that could have stood in the place of an unknown one, from the schema or the files of conf/."""
    *groups, _ = full_key.split(".")
    if len(groups) == 1 and groups[0] in SCHEMA:
        return [each.name for each in fields(SCHEMA[groups[0]])]
    folder = CONF / groups[0] if groups else None
    files = sorted(folder.glob("*.yaml")) if folder and folder.is_dir() else [CONF / "config.yaml"]
    keys: dict[str, None] = {}
    for file in files:
        inner = groups if file.parent == CONF else groups[1:]
        node: Any = OmegaConf.load(file)
        for group in inner:
            node = node.get(group, {}) if OmegaConf.is_dict(node) else {}
        keys |= dict.fromkeys(str(key) for key in node if key not in ("defaults", "hydra"))
    if not groups:
        keys |= dict.fromkeys(entry.name for entry in CONF.iterdir() if entry.is_dir())
    return list(keys)


class Stop:
    """Whether Ctrl-C, SIGTERM or a cluster's warning has asked to stop."""

    number: int | None = None
    at: float = 0.0

    def __bool__(self) -> bool:
        return self.number is not None

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM; 128 and the signal's number."""
        return 128 + (self.number or 0)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Inside, Ctrl-C and SIGTERM only set the flag that is yielded; at the end a flag that is set exits.

    So does SIGUSR1 or SIGUSR2 where somebody waits for it: submitit, which a cluster warns so before the time of a
    job is over. At the end it has the signal, and puts the job into the queue again.

    A second Ctrl-C stops at once. Further SIGTERMs do nothing: `timeout` and torchrun send several, to the process
    and to its group, also after a Ctrl-C, and a state that is being saved must not be lost by them.
    """
    stop = Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    warnings = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    before |= {number: handler for number, handler in warnings.items() if callable(handler)}

    def note(number: int, _frame: FrameType | None) -> None:
        if not stop:
            stop.number, stop.at = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - stop.at > 1:  # a person's, not a launcher's copy
            raise KeyboardInterrupt

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if stop.number in warnings:
            signal.raise_signal(stop.number)  # which exits
    if stop:  # it came too late for this job, but there may be more in the sweep
        raise SystemExit(stop.exit_code)


@contextmanager
def recorded(folder: Path) -> Iterator[None]:
    """Write the reason of a failure inside, in one line, to the folder's failed.txt, and let the sweep go on.

    The next sweep tries again. A sweep in which every job failed ends with an error.
    """
    try:
        yield
    except Exception as error:  # whatever a network raises
        reason = one_line(error) if str(error).strip() else type(error).__name__
        write_atomic(folder / FAILED, reason + "\n")
        print(f"failed: {reason}")
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


def _beginning(names: list[str]) -> str:
    """The letters with which all names begin."""
    return "".join(letters[0] for letters in takewhile(lambda each: len({*each}) == 1, zip(*names, strict=False)))


def comparison(folders: list[Path]) -> str | None:
    """The command that draws these measurements in one figure; None for fewer than two.

    The folders are named by a pattern where one stands for all of them and no others.
    """
    here = Path.cwd()
    folders = sorted({each.relative_to(here) if each.is_relative_to(here) else each for each in folders})
    if len(folders) < 2:
        return None
    script = REPOSITORY / "scripts/compare.py"
    named = [shlex.quote(str(each)) for each in folders]
    levels = [[*dict.fromkeys(names)] for names in zip(*(each.parts for each in folders), strict=False)]
    pattern = Path(*(names[0] if len(names) == 1 else f"{_beginning(names)}*" for names in levels))
    root = Path(pattern.anchor)
    there = [each for each in root.glob(str(pattern.relative_to(root))) if (each / "results.csv").exists()]
    if sorted(there) == folders:
        named = [str(pattern)]
    elif len(folders) > MOST_LISTED:
        named = [shlex.quote(os.path.commonpath(folders))]
    epochs = {re.sub(r"-epoch\d+$", "", each.name) for each in folders}
    by = ["--by", "epoch"] if len(epochs) < len({each.name for each in folders}) else []
    return " ".join(
        ["python", str(script.relative_to(here) if script.is_relative_to(here) else script), *named, *by]
    )


@functools.cache
def _end_with_parent() -> None:
    """From here on, end when the process that started this one is gone; a job under way first saves its state."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        while True:  # inside `stoppable` the first one saves, and outside it one is enough
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(2)

    threading.Thread(target=watch, daemon=True).start()


def _limit_cores(launcher: DictConfig) -> None:
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


def _program() -> str:
    """The name of the script that runs, to begin its error messages with."""
    return Path(sys.argv[0]).name
