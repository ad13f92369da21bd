"""One line for whatever is wrong in what the user has given: what, where, and what to do."""

import difflib
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from omegaconf import MISSING, DictConfig, OmegaConf, errors
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from equivariance.errors import UserError
from equivariance.study.config import CONF, RANGES, SCHEMA, check_ranges, content, shown

EXPECTED = (UserError, HydraException, OmegaConfBaseException, YAMLError)
KEYS_WANTED = "it must be a YAML file of keys"
REPORT = "this is a mistake of this program, not yours: please report it, with the command and the lines above"
LIBRARIES = "timm and torchvision have others: model=timm model.name={0}, model=torchvision model.name={0}"


def is_expected(error: BaseException) -> bool:
    """Whether the user can mend what went wrong: a wrong input, or a file or folder that the system refuses."""
    if isinstance(error, InstantiationException) and error.__cause__ and "equivariance" in _places(error.__cause__):
        return is_expected(error.__cause__)  # it was raised in here, not by arguments that a user has given
    system = isinstance(error, OSError) and error.filename is not None
    return isinstance(error, EXPECTED) or system or _of_submitit(error) or _of_joblib(error)


def one_line(error: BaseException) -> str:
    """The message of an expected error, without line breaks and with a way out; of a bug, what to do with it."""
    for cause in _causes(error):
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, YAMLError):
            return _of_yaml(cause)
        if isinstance(cause, MissingConfigException):
            return _no_choice(cause)
        if isinstance(cause, OSError) and cause.filename is not None:
            return f"{cause.filename}: {cause.strerror}; give another place, such as runs_dir=FOLDER"
        if isinstance(cause, OmegaConfBaseException) and (line := _of_omegaconf(cause)):
            return line
    text = " ".join(str(error).split("Config search path")[0].split())
    if _of_submitit(error) and "timed-out" in text:
        return "its time was over too often; the same command goes on, or give a longer hydra.launcher.timeout_min"
    if _of_submitit(error):
        return f"Slurm refused the jobs ({text}): hydra.launcher says what is asked for"
    if merging := re.fullmatch(r"Error merging override (([\w.]+)=.*)", text):  # a value of another type
        needs = RANGES[merging[2]][1] if merging[2] in RANGES else str(error.__cause__).partition("\n")[0]
        return f"{merging[1]}: {needs}"
    if _of_joblib(error):
        return f"hydra.launcher: {text}"
    return text if is_expected(error) else f"{error!r}: {REPORT}"


def check(cfg: DictConfig) -> None:
    """Refuse a configuration that no task can do anything with, whatever it is, and keys that nothing uses."""
    known = [key for key in map(str, content(CONF / "config.yaml")) if key not in ("defaults", "hydra")]
    known += [each.name for each in CONF.iterdir() if each.is_dir()]
    for key in map(str, cfg):
        if key == "experiment" and cfg[key] is not None:
            raise UserError("experiment: a preset begins with # @package _global_, or its keys are not used")
        if key not in known and not _is_used(key, cfg):
            raise UserError(_unknown(key, known))
    for name, schema in SCHEMA.items():
        for key in cfg[name] if OmegaConf.is_dict(cfg.get(name)) else ():
            if key not in schema.__annotations__:
                raise UserError(_unknown(f"{name}.{key}", [*schema.__annotations__]))
    if missing := sorted(_missing(OmegaConf.to_container(cfg))):
        values = " ".join(f"{key}=VALUE" for key in missing)
        raise UserError(f"no value for {', '.join(missing)}: give {values}")
    check_ranges(cfg)


def _is_used(key: str, cfg: DictConfig) -> bool:
    """Whether a value of the configuration, or of a sweep, refers to a key."""
    text = OmegaConf.to_yaml(cfg) + (OmegaConf.to_yaml(HydraConfig.get()) if HydraConfig.initialized() else "")
    return bool(re.search(rf"\${{{key}[.}}]", text))


def check_files(choices: Mapping[str, Any], sources: Iterable[Any]) -> None:
    """Refuse a chosen file of conf/, or of a folder given by --config-dir, that holds no keys: Hydra ignores it."""
    for source in sources:
        for group, choice in choices.items():
            file = Path(source.path) / group / f"{choice}.yaml"
            if source.schema == "file" and file.exists() and not OmegaConf.is_dict(content(file)):
                raise UserError(f"{file}: {KEYS_WANTED}")


def _missing(node: Any, key: str = "") -> list[str]:
    """The keys without a value; not those that refer to one of them, as run_dir does."""
    if isinstance(node, dict):
        return [found for name in node for found in _missing(node[name], f"{key}.{name}".removeprefix("."))]
    return [key] if node == MISSING else []


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _of_submitit(error: BaseException) -> bool:
    """Whether submitit raised it, which is what its jobs or Slurm's programs have said."""
    return type(error).__module__.startswith("submitit.")


def _of_joblib(error: BaseException) -> bool:
    """Whether joblib itself raised it, as of values of hydra.launcher; what a job raises comes as a `UserError`."""
    return _places(error)[-1:] == ["joblib"]


def _places(error: BaseException) -> list[str]:
    """The packages that an error came through, the last one raised it; of Hydra's own, behind its last call."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    names = [frame.f_globals.get("__name__", "").partition(".")[0] for frame in frames]
    return names[len(names) - names[::-1].index("hydra") :] if "hydra" in names else names


def _of_yaml(error: YAMLError) -> str:
    """Where a file of conf/ is no YAML, and why."""
    mark = getattr(error, "problem_mark", None)
    where = f"{mark.name}, line {mark.line + 1}: " if mark else ""
    return f"{where}{getattr(error, 'problem', None) or ' '.join(str(error).split())}; {KEYS_WANTED}"


def _no_choice(error: MissingConfigException) -> str:
    """A group has no such choice."""
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    others = f"; {LIBRARIES.format(name)}" if group == "model" else ""
    choices = [each for each in error.options or [] if each != "base"]  # what all measures have in common
    close = difflib.get_close_matches(name, choices, n=1)
    hint = f"did you mean {close[0]}? There is" if close else "choose one of"
    return f"unknown {group} {name}: {hint} {', '.join(choices)}{others}"


def _of_omegaconf(error: OmegaConfBaseException) -> str | None:
    """The line for a key that is not there, or a value that the schema does not allow."""
    key: Any = error.full_key
    if isinstance(error, errors.ConfigAttributeError | errors.ConfigKeyError):
        return _unknown(key, [str(each) for each in error.parent_node or () if each != "hydra"])
    if isinstance(error, errors.MissingMandatoryValue):
        return f"no value for {key}: give {key}=VALUE"
    if isinstance(error, errors.ValidationError) and key in RANGES:
        return f"{key}={shown(error.value)}: {RANGES[key][1]}"
    return None


def _unknown(key: str, known: list[str]) -> str:
    """The line for a key that is not among those known in its place; it may be meant for another place."""
    group, _, name = key.rpartition(".")
    places = {each.rpartition(".")[2]: each for each in RANGES} | {each: each for each in known}
    close = difflib.get_close_matches(name, known, n=1) or difflib.get_close_matches(name, places, n=1)
    hint = f"did you mean {places[close[0]]}?" if close else f"there is {', '.join(known)}"
    open_ = group and group not in SCHEMA  # its keys are arguments of its `_target_`
    return f"unknown key {key}: {hint}{f'; +{key}=VALUE adds it' if open_ else ''}"
