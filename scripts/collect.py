"""Gather the rows of an experiment: runs/ in, experiments/NAME/results.csv out.

    python scripts/collect.py NAME [--partial] [overrides, such as runs_dir=FOLDER]

Every job of the preset must have been measured at the preset's own size. With --partial, what is there is
gathered, and what is missing is listed; rows that were collected before, perhaps elsewhere, stay. With overrides
beside runs_dir, which choose networks of one's own, the rows go to NAME/results.csv in the folder of runs, so that
no committed experiment is overwritten.
"""

from pathlib import Path

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from equivariance import rows
from equivariance.errors import UserError
from equivariance.study.cli import command_line
from equivariance.study.cli import jobs as experiments
from equivariance.study.identity import measurement_folder, scoring, training_config


def main(name: str, *arguments: str) -> None:
    partial = "--partial" in arguments
    overrides = tuple(argument for argument in arguments if argument != "--partial")
    found, missing = [], []
    for cfg in experiments.jobs(name, "measure", overrides):
        results = measurement_folder(cfg) / "results.csv"
        if not results.exists():
            missing.append(results)
            continue
        refuse_others(name, cfg, results.parent)
        found.append(rows.read(results).assign(experiment=name))
    for results in missing:
        print(f"not measured: {results}")
    if missing and not (partial and found):
        raise UserError(
            f"{len(missing)} of {len(missing) + len(found)} measurements are missing: python train.py "
            f"experiment={name} and python measure.py experiment={name} make them; --partial collects the others"
        )
    target = experiments.target(name, overrides) / "results.csv"
    table = pd.concat(found)
    if partial and target.exists():
        table = pd.concat([_others(rows.read(target), table), table])
    rows.write(target, table)
    print(f"{len(found)} measurements in {target}")


def refuse_others(name: str, cfg: DictConfig, folder: Path) -> None:
    """Refuse a measurement of other images, elements or scores than the preset asks for, or of another training."""
    from equivariance.study import models  # these take seconds, which --help does not need
    from equivariance.study.runs.folder import first_difference, read_config

    asked = [(folder, {"measure": scoring(cfg)})]
    if cfg.measure.trained and not models.brings_weights(cfg.model):
        groups = training_config(cfg)
        asked.append((Path(cfg.run_dir), {key: groups[key] for key in ("model", "aug", "recipe", "seed")}))
    for place, wanted in asked:
        made = read_config(place, "move the folder away and measure again")
        transform = wanted.get("measure", {}).get("transform", {})
        if transform.get("size", 0) is None:  # of images, which the network knows
            transform["size"] = OmegaConf.select(OmegaConf.create(made), "measure.transform.size")
        if difference := first_difference({key: made.get(key) for key in wanted}, wanted):
            key, there, here = difference
            raise UserError(
                f"{place} has {key}={there}, experiment {name} needs {here}; measure it as the preset says, or "
                "give collect.py the overrides that measure.py was given"
            )


def _others(before: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The rows of earlier measurements that were not found again."""
    keys, again = (set_of[rows.MEASUREMENT].map(str).agg(" ".join, axis=1) for set_of in (before, found))
    return before[~keys.isin(again.unique())]


if __name__ == "__main__":
    command_line(main)
