"""How wrong is equivariance with few images? Plug-in, cross-fitted value and their middle against the truth.

    python scripts/few_images.py WEIGHTS DATA_DIR
    python scripts/few_images.py WEIGHTS DATA_DIR looks    # do brackets that end a measurement hold the truth?

WEIGHTS are those of the published ResNet-44 (resnet44-014dd654.th), DATA_DIR holds CIFAR-10. Writes
experiments/few_images/errors.csv: for each case and number of images the means over choices of images, and how
often the truth lies between both ends, in the plug-in value's own interval, and in `low` to `high`.
"""

from equivariance.study.cli import answer_help, command_line

answer_help(__name__, __doc__)  # before what takes seconds is imported

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor, nn

import equivariance as eq
from equivariance.metric.equivariance import Equivariance
from equivariance.metric.precision import Precision
from equivariance.names import PARTS
from equivariance.progress import progress
from equivariance.study.config import EXPERIMENTS
from equivariance.study.data import datasets
from equivariance.study.models import ResNet, weights
from equivariance.study.tables import write_csv

IMAGES = [40, 100, 200, 400, 1000, 2000]
REPETITIONS = 100  # for each number of images: choices of the test images, or draws of made features
LOOKED = 200  # the same of measurements that end by themselves
LAYERS = ["stem", "blocks.6", "blocks.13", "blocks.20", "pool", "final"]  # the last of each stage
SMALLEST = 4  # images of a block of the statistics that are kept of all of them
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the images that the published network was trained on
CASE = ["network", "layer", "over", "channels", "truth", "images"]
# What the features of each case of made maps correlate with: of channel c, those of c' = c, c + 1, ... under g.
MADE = {
    "independent": [0.0],
    "one partner": [0.5],
    "eight equal partners": [0.3] * 8,
    "falling": [0.5 * 0.8**step for step in range(12)],
}


@dataclass(frozen=True)
class Exchange:
    """The images (n, 2c, 1, 1) hold both sides of a comparison; g exchanges them."""

    name: ClassVar[str] = "exchange"
    element: int = 1

    def check(self, height: int, width: int) -> None:
        """It is defined on all images."""

    def act(self, images: Tensor) -> Tensor:
        """The second half of the channels first."""
        return images.roll(images.shape[1] // 2, 1)

    def align(self, copy: Tensor, original: Tensor, stride: float | None) -> tuple[Tensor, Tensor]:
        """Both maps as they are."""
        return copy, original


class FirstHalf(nn.Module):
    """The first half of the channels: (n, 2c, 1, 1) to (n, c)."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, : images.shape[1] // 2, 0, 0]


def made(correlations: list[float], channels: int, images: int, generator: torch.Generator) -> Tensor:
    """Normal features: r[c, c + k] is exactly `correlations[k]`, every other one 0; (n, 2c, 1, 1).

    With a_c and e_c independent and standard, b_c' = sum_k r_k a_(c' - k) + sqrt(1 - sum_k r_k^2) e_c'.
    """
    original, noise = torch.randn(2, images, channels, generator=generator)
    common = sum(r * original.roll(step, 1) for step, r in enumerate(correlations))
    other = common + math.sqrt(1 - sum(r * r for r in correlations)) * noise
    return torch.cat([other, original], 1)[..., None, None]


def of_made(name: str, channels: int) -> Iterator[dict[str, Any]]:
    """What is measured on made features, whose truth is the largest correlation."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(OrderedDict(features=FirstHalf()))
    for images in IMAGES:
        for _ in range(REPETITIONS):
            features = made(MADE[name], channels, images, generator)
            metric = eq.Equivariance(model, [Exchange()], ["features"])
            metric.update(features)
            for row in equivariances(metric.compute()):
                yield row | {"network": name, "truth": max(MADE[name])}


def kept(file: str, data_dir: str) -> tuple[Equivariance, dict[str, Any]]:
    """A metric of the network, empty, and the statistics of all test images, in blocks of `SMALLEST`."""
    model = ResNet(3, 10, depth=44).eval()
    weights.load(model, file)
    pixels, labels, classes = datasets.cifar10(data_dir, False, "held_out")
    images = datasets.Images(pixels[:], labels, classes, torch.tensor(MEAN), torch.tensor(STD))

    def metric(blocks: int) -> Equivariance:
        return eq.Equivariance(model, eq.rotations([90]), LAYERS, over=["image", "dataset"], blocks=blocks)

    everything, some = metric(len(pixels) // SMALLEST), metric(10)
    with progress("all test images", len(pixels)) as bar:
        for batch in torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0)).split(250):
            everything.update(images.normalise(images.pixels[batch]))
            bar.update(len(batch))
    some.setup(images.pixels[:1].float())
    return some, everything.state_dict()


def of_network(file: str, data_dir: str) -> Iterator[dict[str, Any]]:
    """What is measured on choices of the test images, and on all of them, which stands for the truth."""
    some, state = kept(file, data_dir)
    generator, all_blocks = torch.Generator().manual_seed(0), len(state["blocks"])
    whole = equivariances(chosen(some, state, torch.arange(all_blocks)).compute())
    truth = {(row["layer"], row["over"]): row["middle"] for row in whole}
    for count in IMAGES:
        for _ in range(REPETITIONS):
            blocks = torch.randperm(all_blocks, generator=generator)[: count // SMALLEST]
            for row in equivariances(chosen(some, state, blocks).compute()):
                yield row | {"network": "ResNet-44", "truth": truth[row["layer"], row["over"]]}


def chosen(metric: Equivariance, state: dict[str, Any], blocks: Tensor) -> Equivariance:
    """The metric on the images of some blocks alone, as if no other ones had been measured."""
    metric.reset()
    images = len(blocks) * SMALLEST
    there = {index: state["blocks"][block] for index, block in enumerate(blocks.tolist())}
    while metric.blocks.most * metric.blocks.size < images:
        metric.blocks.join()
    metric.merge_state(state | {"images": images, "blocks": there})
    return metric


def equivariances(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Both ends of the equivariance of each layer and reading, their middle, and the intervals."""
    one = table[(table.score == "equivariance") & ~((table.over != "image") & table.layer.isin(["pool", "final"]))]
    half = one.high - one.value  # none is as high as 1
    one = one.assign(plug_in=one.value, middle=(one.value + one.cross_fitted) / 2, plug_in_low=one.value - half)
    ends = ["plug_in", "cross_fitted", "middle", "plug_in_low", "low", "high"]
    return one[["layer", "over", "channels", "images", *ends]].to_dict("records")


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Means and spreads over the choices of images, and how often what holds the truth."""
    found = found.assign(
        bracket_holds=found.truth.between(found.cross_fitted, found.plug_in),
        plug_in_interval_holds=found.truth.between(found.plug_in_low, found.high),
        interval_holds=found.truth.between(found.low, found.high),
    )
    each = found.groupby(CASE, sort=False)
    ends = ["plug_in", "cross_fitted", "middle"]
    means = each[[*ends, "low", "high"]].mean()
    spread = each[ends].std().add_suffix("_sd")
    shares = each[["bracket_holds", "plug_in_interval_holds", "interval_holds"]].mean()
    return pd.concat([each.size().rename("repetitions"), means, spread, shares], axis=1).reset_index()


def ended(metric: Equivariance, precision: Precision, add: Callable[[Tensor], Any]) -> pd.DataFrame:
    """The brackets of a measurement that ends by itself; `add` gives the metric the images of some indices."""
    metric.reset()
    for images, _ in precision.enough([(torch.arange(max(IMAGES)), None)], metric):
        add(images)
    return metric.brackets(level=precision.level(metric)).assign(images=metric.images)


def holding(case: str, brackets: list[pd.DataFrame], truth: pd.DataFrame) -> pd.DataFrame:
    """The mean number of images and how often brackets hold the truth, where it is no end of the scale."""
    table = pd.concat(brackets).merge(truth).query("truth > 0").assign(case=case)
    table["holds"] = table.truth.between(table.low, table.high)
    return table.groupby(["case", "part", "over", "score"], sort=False)[["images", "holds"]].mean()


def looks(file: str, data_dir: str) -> Iterator[pd.DataFrame]:
    """Of measurements that end by themselves, see `holding`, each case.

    The invariance of made features is their first correlation. The truth of the network is the middle of both ends
    over all test images; each of its measurements takes the kept blocks in another order, and is to end while they
    are a small share of all.
    """
    generator = torch.Generator().manual_seed(0)
    for name, channels in [*((name, 64) for name in MADE if max(MADE[name])), ("one partner", 512)]:
        metric = eq.Equivariance(nn.Sequential(OrderedDict(features=FirstHalf())), [Exchange()], ["features"])

        def add(images: Tensor, metric: Equivariance = metric, name: str = name, channels: int = channels) -> None:
            metric.update(made(MADE[name], channels, len(images), generator))

        found = [ended(metric, Precision(0.07, PARTS), add) for _ in range(LOOKED)]
        truth = pd.DataFrame({"score": ["invariance", "equivariance"], "truth": [MADE[name][0], max(MADE[name])]})
        yield holding(f"{name}, {channels} channels", found, truth)
    some, state = kept(file, data_dir)
    whole = chosen(some, state, torch.arange(len(state["blocks"]))).brackets()
    truth = whole.assign(truth=(whole.value + whole.cross_fitted) / 2)[["part", "over", "score", "truth"]]
    found = []
    for _ in range(LOOKED):
        blocks = torch.randperm(len(state["blocks"]), generator=generator)
        found.append(
            ended(
                some, Precision(0.05), lambda i, of=blocks: chosen(some, state, of[: (int(i[-1]) + 1) // SMALLEST])
            )
        )
    yield holding("ResNet-44", found, truth)


def main(file: str, data_dir: str, what: str = "", folder: Path = EXPERIMENTS / "few_images") -> None:
    """Measure all cases and write the table."""
    if what == "looks":
        for table in looks(file, data_dir):
            print(table.to_string(), flush=True)
        return
    cases: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        f"{name}, 64 channels": partial(of_made, name, 64) for name in MADE
    }
    cases["one partner, 512 channels"] = partial(of_made, "one partner", 512)
    cases["ResNet-44"] = partial(of_network, file, data_dir)
    tables = []
    for name, rows in cases.items():
        tables.append(summary(pd.DataFrame(rows())))
        print(f"{name}\n{tables[-1].drop(columns=['network', 'repetitions']).to_string(index=False)}", flush=True)
    write_csv(folder / "errors.csv", pd.concat(tables))
    print(f"wrote {folder / 'errors.csv'}")


if __name__ == "__main__":
    command_line(main)
