"""Keep what was trained: final weights as float16 in experiments/NAME/weights/, named by their digest.

    python scripts/keep_weights.py NAME [overrides, such as seed=0 runs_dir=FOLDER]

For each complete run of the experiment: its weights are rounded to float16, in its checkpoint too, so that what is
measured from then on is what is kept; then they are written. weights.csv says which file is whose. Run it before
measure.py: a measurement of the weights before rounding is another one.
"""

from equivariance.study.cli import answer_help, command_line

answer_help(__name__, __doc__)  # before what takes seconds is imported

from pathlib import Path

import pandas as pd
from safetensors.torch import save

from equivariance.files import write_atomic
from equivariance.study.cli import jobs as experiments
from equivariance.study.config import EXPERIMENTS
from equivariance.study.models.weights import digest_of
from equivariance.study.runs.folder import Run, read_state
from equivariance.study.tables import write_csv

KEY = ["dataset", "model", "aug", "seed"]


def main(name: str, *overrides: str, folder: Path | None = None) -> None:
    folder = folder or EXPERIMENTS / name / "weights"
    table = folder / "weights.csv"
    known = pd.read_csv(table) if table.exists() else pd.DataFrame(columns=[*KEY, "file"])
    for cfg in experiments.jobs(name, "train", overrides):
        run = Run(Path(cfg.run_dir))
        if not run.checkpoint.exists():
            continue
        with run.only_process():
            state = read_state(run.checkpoint, ("epoch", "model"), "train it again")
            if state["epoch"] < cfg.recipe.epochs:
                continue
            halves = {key: x.half() if x.is_floating_point() else x for key, x in state["model"].items()}
            state["model"] = {key: value.to(state["model"][key].dtype) for key, value in halves.items()}
            run.save(state)
        file = f"{digest_of(state['model'])}.safetensors"
        write_atomic(folder / file, save({key: value.contiguous() for key, value in halves.items()}))
        row = [cfg.dataset.name, cfg.model.name, cfg.aug.name, cfg.seed, file]
        known = pd.concat([known, pd.DataFrame([row], columns=known.columns)]).drop_duplicates(KEY, keep="last")
        write_csv(table, known.sort_values(KEY))
        print(f"{run.folder}: {folder / file}")


if __name__ == "__main__":
    command_line(main)
