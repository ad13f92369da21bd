"""The words of the command line: what can be read of them, `run=FOLDER`, and `--help`."""

import re
import shutil
from glob import glob
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from equivariance.errors import UserError
from equivariance.study.config import CONF, chain, choices

FLAGS = ("-m", "--multirun")  # options of Hydra without a value, which may stand anywhere
BESIDE_RUN = ("measure", "hardware", "wandb", "hydra", "data_dir", "runs_dir", "dataset.root", "dataset.download")
GROUPS = ("dataset", "model", "aug", "recipe", "measure", "experiment")
EXAMPLES = """\
python train.py dataset=mnist6 model=cnn7 seed=1              train; the same command goes on where it stopped
python train.py model=wrn40 aug=none,crop,cutmix -m           a sweep; + hydra/launcher=joblib: at the same time
python measure.py run=runs/mnist6/cnn7/none/seed1             measure it; run=[A,B] or a pattern: several
python measure.py run=FOLDER measure=translation measure.images=500
python measure.py model=timm model.name=resnet50 model.pretrained=true dataset=image_folder dataset.root=FOLDER"""


def prepared(words: list[str]) -> list[str]:
    """The words as Hydra takes them, its options first; a UserError for those that it would not understand."""
    options = [word for word in words if word in FLAGS or (word.startswith("--") and "=" in word)]
    words = [word for word in words if word not in options]
    for word in words:
        if "=" in word and not word.startswith("-"):
            _check(word)
    return [*options, *_with_runs(words, options)]


def _check(word: str) -> None:
    """Refuse a word that cannot be read, a group that is chosen by no name, and Slurm where there is none."""
    key, _, value = word.partition("=")
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except HydraException as error:
        quoted = value.replace('"', '\\"')
        raise UserError(f"{word}: cannot be read; quote = ( ) and accents twice: '{key}=\"{quoted}\"'") from error
    if key in GROUPS:
        chosen = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
        null = key == "experiment" and override.value() is None
        if not null and not all(isinstance(each, str) or hasattr(each, "text") for each in chosen):
            raise UserError(f"{word}: {choices(key)}")
    if key == "hydra/launcher" and "slurm" in value and shutil.which("sbatch") is None:
        raise UserError(f"{word}: there is no sbatch here; run it where jobs of the cluster are submitted")


def _with_runs(words: list[str], options: list[str]) -> list[str]:
    """`run=` as the folders it names, one job each: FOLDER, a pattern, or [A,B]; the runs in a folder of runs."""
    given = next((word for word in words if word.startswith("run=")), None)
    if given is None or given == "run=null":
        return words
    others = [word for word in words if word != given]
    if wrong := [word for word in others if re.split(r"[.=/]", word.lstrip("+~"))[0] not in BESIDE_RUN]:
        wrong = [word for word in wrong if not word.startswith(BESIDE_RUN)]
    if wrong:
        raise UserError(
            f"{' '.join(wrong)} beside run=: the run's checkpoint says how it was trained; "
            "what can be given is measure.*, hardware.*, wandb.*, data_dir, runs_dir and dataset.root"
        )
    runs: list[Path] = []
    for pattern in given.removeprefix("run=").strip("[]").split(","):
        places = [Path(found) for found in sorted(glob(pattern.strip("\"' ")))]
        found = [file.parent for place in places for file in sorted(place.glob("**/checkpoint.pt"))]
        if not found:
            raise UserError(f"run={pattern}: no checkpoint.pt there or below; give the folder of a training")
        runs += [run for run in found if run not in runs]
    quoted = ['"' + str(run).replace('"', '\\"') + '"' for run in runs]
    several = ["--multirun"] if len(runs) > 1 and not {*FLAGS} & {*options} else []
    return [*several, f"run={','.join(quoted)}", *others]


def help_text(program: str, words: list[str]) -> str:
    """The choices of each group, and each key of the composed configuration with its comment in conf/."""
    with initialize_config_dir(str(CONF), version_base="1.3", job_name=program.removesuffix(".py")):
        cfg = compose("config", [word for word in words if not word.startswith("-")], return_hydra_config=True)
    chosen: Any = cfg.hydra.runtime.choices
    lines = [f"python {program} KEY=VALUE ..", "", EXAMPLES, ""]
    for group in GROUPS:
        lines += [f"{group}={chosen[group] or 'null'}: {choices(group)}"]
    lines += [""]
    for key in map(str, cfg):
        if key != "hydra":
            comments = _comments(CONF / "config.yaml", "")
            for file in chain(CONF / key, chosen.get(key)):
                comments |= _comments(file, f"{key}.")
            lines += _lines(key, cfg, comments)
    return "\n".join([*lines, "", "--hydra-help: Hydra's own options; --cfg job: the whole configuration as YAML"])


def _comments(file: Path, prefix: str) -> dict[str, str]:
    """The comment behind each key of a YAML file, by the key's full name; lines of comment alone go on with it."""
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    last = ""
    for line in file.read_text().splitlines():
        if key := re.match(r"( *)([\w]+):.*?(?: # ?(.*))?$", line):
            above = [each for each in above if each[0] < len(key[1])] + [(len(key[1]), key[2])]
            last = prefix + ".".join(name for _, name in above)
            found |= {last: key[3]} if key[3] else {}
        elif last in found and (more := re.match(r" {8,}# *(.*)", line)):
            found[last] += f" {more[1]}"
        else:
            last = ""
    return found


def _lines(key: str, cfg: DictConfig, comments: dict[str, str]) -> list[str]:
    """A line for each value below a key, unresolved: the assignment and the comment."""
    parent, _, name = key.rpartition(".")
    node: Any = (OmegaConf.select(cfg, parent) if parent else cfg)._get_node(name)
    if OmegaConf.is_dict(node) and not node._is_none() and not node._is_missing():
        return [line for below in map(str, node) for line in _lines(f"{key}.{below}", cfg, comments)]
    raw = OmegaConf.to_container(node) if OmegaConf.is_list(node) else node._value()
    text = f"{key}={'null' if raw is None else str(raw).replace(' ', '')}"
    return [f"{text:<44}{comments.get(key, '')}".rstrip()]
