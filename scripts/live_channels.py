"""Scores of CNN-7 at equal numbers of live channels: do the tasks differ, or how many of their channels live?

    python scripts/live_channels.py [overrides, such as runs_dir=FOLDER]

The maximum of the equivariance runs over fewer partners where fewer channels are alive. So as many channels as the
task with the fewest has in a layer are drawn at random from those that are alive, in each task, and scored as if
there were no others; the mean over `DRAWS` draws. Adds rows to symmetry_decay/live_channels.csv, where the results
of that experiment are, for each seed and weight decay of whose networks all three are trained, and skips those that
are there; see `rows`.
"""

from equivariance.study.cli import answer_help, command_line

answer_help(__name__, __doc__)  # before what takes seconds is imported

from functools import partial
from pathlib import Path
from statistics import fmean

import pandas as pd
import torch
from omegaconf import DictConfig
from torch import Tensor

from equivariance.layers.find import Layers
from equivariance.metric.sums import key_of
from equivariance.statistics.formulas import FORMULAS
from equivariance.statistics.image_blocks import CHANCE
from equivariance.study.cli import jobs as experiments
from equivariance.study.measuring import Measurement
from equivariance.study.runs.processes import Processes
from equivariance.study.tables import extend

NAMES = ("symmetry_reduced", "symmetry_decay")
DRAWS = 200
KEY = ["weight_decay", "seed"]


def scores(r: Tensor) -> dict[str, float]:
    """The scores of correlations r (..., c, c) of live channels, mean over the leading dimensions."""
    return {name: fmean(map(score, r.flatten(0, -3))) for name, score in FORMULAS.items()}


def drawn(r: Tensor, channels: int, seed: int = 0) -> Tensor:
    """Correlations (draws, elements, n, n) of n = `channels` channels, drawn at random from r (elements, c, c)."""
    generator = torch.Generator().manual_seed(seed)
    chosen = [torch.randperm(r.shape[-1], generator=generator)[:channels] for _ in range(DRAWS)]
    return torch.stack([r[:, each][:, :, each] for each in chosen])


def correlations(cfg: DictConfig) -> tuple[Layers, dict[str, tuple[Tensor, Tensor]]]:
    """The layers of a trained network, and of each the correlations (elements, c, c) of its live channels.

    Of the same images and, for the chance level, of different ones. Alive is a channel that varies in some image
    under every element.
    """
    job = Measurement(cfg, Processes())
    metric, found = job.metric, {}
    for images, _ in job.batches():
        metric.update(images)
    for name, layer in metric.layers.items():
        over = metric.sums.readings_of(layer)[0]
        same = torch.stack([metric.similarities(name, g, over) for g in metric.transforms])
        other = [metric.blocks.whole(key_of(layer, g, over, CHANCE)).similarities() for g in metric.transforms]
        live = ~same.diagonal(dim1=1, dim2=2).isnan().any(0)
        found[name] = (same[:, live][:, :, live], torch.stack(other)[:, live][:, :, live].nan_to_num(0))
    return metric.layers, found


def rows(key: tuple[float, int], tasks: dict[str, DictConfig]) -> pd.DataFrame:
    """The scores of one weight decay and seed: one row per task, layer and score.

    `live` channels of the task, `drawn` as many as the task with the fewest has; `value` and `chance` of all live
    ones, `equal_value` and `equal_chance` of those that are drawn.
    """
    measured, table = {task: correlations(cfg) for task, cfg in tasks.items()}, []
    for task, (layers, found) in measured.items():
        for name, pair in found.items():
            fewest = min(of[name][0].shape[-1] for _, of in measured.values())
            if not fewest:
                continue
            place = {"dataset": task, "layer": name, "index": layers[name].index, "part": layers[name].part}
            place |= dict(zip(KEY, key, strict=True)) | {"live": pair[0].shape[-1], "drawn": fewest}
            kinds = dict(zip(("value", "chance"), pair, strict=True))
            kinds |= {f"equal_{kind}": drawn(r, fewest) for kind, r in kinds.items()}
            of_layer = pd.DataFrame({kind: scores(r) for kind, r in kinds.items()})
            table.append(of_layer.rename_axis("score").reset_index().assign(**place))
    return pd.concat(table)


def groups(overrides: tuple[str, ...]) -> dict[tuple[float, int], dict[str, DictConfig]]:
    """The jobs of trained networks that have been trained, by weight decay and seed, then by task."""
    found: dict[tuple[float, int], dict[str, DictConfig]] = {}
    for name in NAMES:
        for cfg in experiments.each_job(name, "measure", overrides):
            if cfg.measure.trained and (Path(cfg.run_dir) / "checkpoint.pt").exists():
                found.setdefault((float(cfg.recipe.weight_decay), cfg.seed), {})[cfg.dataset.name] = cfg
    return found


def main(*overrides: str) -> None:
    file = experiments.target("symmetry_decay", overrides) / "live_channels.csv"
    found = groups(overrides).items()
    extend(file, KEY, ((key, partial(rows, key, tasks)) for key, tasks in found if len(tasks) == 3))


if __name__ == "__main__":
    command_line(main)
