"""The frame of entrypoints and scripts: Hydra, errors of one line, exit codes, and a stop that loses nothing."""

import difflib
import functools
import inspect
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from equivariance import progress
from equivariance.checkout import CONF, REPOSITORY
from equivariance.errors import UserError
from equivariance.runs.atomic import write_whole

FAILED = "failed.txt"  # in the folder of a measurement that failed in a sweep over many networks
EXPECTED = (UserError, HydraException, OmegaConfBaseException)

# Paths and sweeps in conf/ that depend on where the repository lies and on which entrypoint reads them.
OmegaConf.register_new_resolver("repository", lambda: str(REPOSITORY), replace=True)
OmegaConf.register_new_resolver("measuring", lambda job, yes, no: yes if job == "measure" else no, replace=True)


def _timm_models(models: str | list[str], pretrained: bool) -> str:
    """The values of a sweep over these networks, see `models.library.select`."""
    from equivariance.models.library import select  # here, as importing timm takes a second

    return ",".join(select(models, pretrained))


def _published(network: str) -> dict | None:
    """The stated accuracy of a network in the table of published ones."""
    from equivariance.models.public import published  # here, as importing torch takes seconds

    return published(network)


OmegaConf.register_new_resolver("timm_models", _timm_models, replace=True)
OmegaConf.register_new_resolver("published", _published, replace=True)


def entrypoint(task: Callable[[DictConfig], None]) -> Callable[[], None]:
    """`hydra.main` on conf/config.yaml; expected failures end in one line on stderr and exit code 1.

    `HYDRA_FULL_ERROR=1` shows the traceback instead.
    """

    failed: list[str] = []

    @functools.wraps(task)
    def checked(cfg: DictConfig) -> None:
        try:
            missing = sorted(OmegaConf.missing_keys(cfg))
            if missing:
                values = " ".join(f"{key}=VALUE" for key in missing)
                raise UserError(f"no value for {', '.join(missing)}: give {values}")
            if not isinstance(cfg.seed, int) or cfg.seed < 0:
                raise UserError(f"seed={cfg.seed}: needs a whole number from 0 on")
            progress.shared_terminal = "BasicLauncher" not in HydraConfig.get().launcher._target_
            task(cfg)
        except Exception as error:
            job, expected = HydraConfig.get(), isinstance(error, EXPECTED)
            if full_error or (job.mode is RunMode.RUN and not expected):
                raise
            if job.mode is RunMode.RUN:
                sys.exit(f"{program}: {one_line(error)}")
            if not expected:
                traceback.print_exc()
            cause = f"{job.runtime.output_dir}: {one_line(error) if expected else repr(error)}"
            print(f"{program} {cause}", file=sys.stderr)
            if "BasicLauncher" not in job.launcher._target_:  # another process: Hydra carries the failure over
                raise UserError(f"failed: {cause}") from None
            failed.append(job.runtime.output_dir)  # the other jobs of the sweep go on

    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    program = Path(sys.argv[0]).name

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
            hydra_main()
        except EXPECTED as error:
            sys.exit(f"{program}: {one_line(error)}")
        except KeyboardInterrupt:
            sys.exit(130)
        if failed:
            sys.exit(f"{program}: {len(failed)} failed: {'; '.join(failed)}")

    return run


def command_line(main: Callable[..., None]) -> None:
    """Call a script's `main` with the words of the command line; expected failures end in one line on stderr.

    Words that are not its arguments end in the script's docstring.
    """
    words = sys.argv[1:]
    try:
        inspect.signature(main).bind(*words)
    except TypeError:
        sys.exit(main.__globals__["__doc__"])
    try:
        main(*words)
    except EXPECTED as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {one_line(error)}")


def experiment() -> str:
    """The name given as `experiment=NAME`, or "none"."""
    return HydraConfig.get().runtime.choices.get("experiment") or "none"


def one_line(error: Exception) -> str:
    """The message of an error of ours, Hydra's or OmegaConf's, without line breaks and with a way out."""
    text = str(error)
    if isinstance(error, UserError):
        return text
    unknown = re.search(r"Could not override '([\w.]+)'", text)
    if unknown:
        key = unknown[1]
        known = _keys_beside(key)
        close = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(known)}"
        return f"unknown key {key}: {hint}"
    missing = re.search(r"Missing mandatory value: ([\w.]+)", text)
    if missing:
        return f"no value for {missing[1]}: give {missing[1]}=VALUE"
    choice = re.search(r"Could not find '(\w+)/([^']+)'\s+Available options in '\w+':\s+(.*?)\s+Config", text, re.S)
    if choice:
        group, name, options = choice.groups()
        return f"unknown {group} {name}: choose one of {', '.join(options.split())}"
    cause = text if not isinstance(error.__cause__, UserError) else str(error.__cause__)
    return " ".join(cause.split("Config search path")[0].split())


def _keys_beside(full_key: str) -> list[str]:
    """The keys that could have stood in the place of an unknown one, read from the files of the configuration."""
    *groups, _ = full_key.split(".")
    folder = CONF / groups[0] if groups else None
    files = sorted(folder.glob("*.yaml")) if folder and folder.is_dir() else [CONF / "config.yaml"]
    keys: dict[str, None] = {}
    for file in files:
        inner = groups if file.parent == CONF else groups[1:]
        node = OmegaConf.load(file)
        for group in inner:
            node = node.get(group, {}) if OmegaConf.is_dict(node) else {}
        keys |= dict.fromkeys(str(key) for key in node if key not in ("defaults", "hydra"))
    if not groups:
        keys |= dict.fromkeys(entry.name for entry in CONF.iterdir() if entry.is_dir())
    return list(keys)


class Stop:
    """Whether Ctrl-C or SIGTERM has asked to stop; a second one stops at once."""

    number: int | None = None

    def __bool__(self) -> bool:
        return self.number is not None

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number


@contextmanager
def stoppable() -> Iterator[Stop]:
    """While inside, Ctrl-C and SIGTERM only set the flag that is handed out; unheeded, they stop at the end."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame) -> None:
        stop.number = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stop:  # it came too late for this job, but there may be more in the sweep
        raise SystemExit(stop.exit_code)


@contextmanager
def recorded(folder: Path) -> Iterator[None]:
    """Whatever fails inside leaves its reason in the folder, in one line, and does not stop the sweep.

    The next sweep tries again.
    """
    try:
        yield
    except Exception as error:  # whatever a network raises
        reason = one_line(error) if str(error).strip() else type(error).__name__
        write_whole(folder / FAILED, reason + "\n")
        print(f"failed: {reason}")
    else:
        (folder / FAILED).unlink(missing_ok=True)
