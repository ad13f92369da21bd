"""One line for whatever is wrong in what the user has given: what, where, and what to do."""

import difflib
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from equivariance.errors import UserError
from equivariance.study.checkout import CONF
from equivariance.study.config import SCHEMA, check_ranges, needs, shown

EXPECTED = (UserError, HydraException, OmegaConfBaseException)


def is_expected(error: BaseException) -> bool:
    """Whether the user can mend what went wrong: a wrong input, or a file or folder that the system refuses."""
    system = isinstance(error, OSError) and error.filename is not None
    return isinstance(error, EXPECTED) or system or _of_submitit(error)


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


def check(cfg: DictConfig) -> None:
    """Refuse a configuration that no task can do anything with, whatever it is."""
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
            raise UserError(f"{group}={cfg.get(group)}: {choices(group)}")
    check_ranges(cfg)
    for group in ("dataset", "model", "aug", "measure"):
        name = cfg[group].get("name")
        inside = isinstance(name, str | int) and str(name).isprintable() and Path(str(name)).parts
        if not inside or Path(str(name)).is_absolute() or ".." in Path(str(name)).parts:
            raise UserError(f"{group}.name={shown(name)}: needs a name for a folder inside runs_dir")


def _of_submitit(error: BaseException) -> bool:
    """Whether submitit raised it, which is what its jobs or Slurm's programs have said."""
    return type(error).__module__.startswith("submitit.")


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


def choices(group: str) -> str:
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
