"""How active are the layers: the mean and the root mean square of their maps, which scores may follow.

    python scripts/activations.py NAME [overrides, such as weights_dir=FOLDER]

Writes experiments/NAME/activations.csv: one row per network and layer, over the images of the experiment.
"""

from equivariance.study.cli import answer_help, command_line

answer_help(__name__, __doc__)  # before what takes seconds is imported

import pandas as pd
import torch
from torch import Tensor

from equivariance.layers.find import tap
from equivariance.study.cli import jobs as experiments
from equivariance.study.measuring import Measurement
from equivariance.study.runs.processes import Processes
from equivariance.study.tables import write_csv


def activations(job: Measurement) -> pd.DataFrame:
    """Columns layer, index, mean, rms: of all values of a layer's maps of the chosen images, in float64."""
    layers = job.metric.layers.values()
    sums = {layer.name: torch.zeros(3, dtype=torch.float64) for layer in layers}

    def add(name: str, maps: Tensor) -> None:
        x = maps.double()
        sums[name] += torch.stack([torch.tensor(x.numel()).double(), x.sum().cpu(), x.square().sum().cpu()])

    with torch.inference_mode(), tap(layers, add):
        for images, _ in job.batches():
            job.model(images)
    count, total, squares = torch.stack([*sums.values()]).numpy().T
    places = {"layer": [*sums], "index": [layer.index for layer in layers]}
    return pd.DataFrame(places | {"mean": total / count, "rms": (squares / count) ** 0.5})


def main(name: str, *overrides: str) -> None:
    tables: dict[str, pd.DataFrame] = {}
    for cfg in experiments.jobs(name, "measure", overrides):
        if cfg.measure.trained and cfg.model.name not in tables:
            tables[cfg.model.name] = activations(Measurement(cfg, Processes())).assign(model=cfg.model.name)
    target = experiments.target(name, overrides) / "activations.csv"
    write_csv(target, pd.concat(tables.values()), 6)
    print(f"{len(tables)} networks in {target}")


if __name__ == "__main__":
    command_line(main)
