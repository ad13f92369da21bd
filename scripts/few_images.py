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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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
ENDS = ["plug_in", "cross_fitted", "middle"]
# What the features of each case of made maps correlate with: of channel c, those of c' = c, c + 1, ... under g.
MADE = {
    "independent": [0.0],
    "one partner": [0.5],
    "eight equal partners": [0.3] * 8,
    "falling": [0.5 * 0.8**step for step in range(12)],
}


class Source(NamedTuple):
    """What is measured again and again.

    Attributes:
        metric: of its network.
        draw: chooses other images; returns what gives the metric those of some places among them.
        truth: what the scores of a table, from `compute` or `brackets`, would be with all images there are.
    """

    name: str
    metric: Equivariance
    draw: Callable[[], Callable[[Tensor], Any]]
    truth: Callable[[Callable[[Equivariance], pd.DataFrame]], pd.DataFrame]


class FirstColumn(nn.Module):
    """The left position of images (n, c, 1, 2), which hold both sides of a comparison: (n, c)."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, 0, 0]


def made(correlations: list[float], channels: int, images: int, generator: torch.Generator) -> Tensor:
    """Normal features b of an image and, to the right of them, a of its mirror image: (n, c, 1, 2).

    r[c, c + k] is exactly `correlations[k]`, every other one 0: with a_c and e_c independent and standard,
    b_c' = sum_k r_k a_(c' - k) + sqrt(1 - sum_k r_k^2) e_c'.
    """
    original, noise = torch.randn(2, images, channels, generator=generator)
    common = sum(r * original.roll(step, 1) for step, r in enumerate(correlations))
    other = common + math.sqrt(1 - sum(r * r for r in correlations)) * noise
    return torch.stack([other, original], 2)[:, :, None]


def of_made(name: str, channels: int, generator: torch.Generator) -> Source:
    """Made features: their invariance is their first correlation, their equivariance the largest one."""
    network = nn.Sequential(OrderedDict(features=FirstColumn()))
    metric = eq.Equivariance(network, eq.mirrors(), ["features"])
    truth = pd.DataFrame({"score": ["invariance", "equivariance"], "truth": [MADE[name][0], max(MADE[name])]})

    def draw() -> Callable[[Tensor], Any]:
        metric.reset()
        return lambda places: metric.update(made(MADE[name], channels, len(places), generator))

    return Source(name, metric, draw, lambda read: truth)


def of_network(file: str, data_dir: str, generator: torch.Generator) -> Source:
    """Choices of the test images, by statistics of all of them in blocks; the truth is the middle of both ends."""
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
    state = everything.state_dict()

    def choose(blocks: Tensor) -> Equivariance:
        """The metric of the images of some blocks alone, as if no other ones had been measured."""
        some.reset()
        there = {index: state["blocks"][block] for index, block in enumerate(blocks.tolist())}
        while some.blocks.most * some.blocks.size < len(blocks) * SMALLEST:
            some.blocks.join()
        some.merge_state(state | {"images": len(blocks) * SMALLEST, "blocks": there})
        return some

    def draw() -> Callable[[Tensor], Any]:
        some.reset()
        blocks = torch.randperm(len(state["blocks"]), generator=generator)
        return lambda places: choose(blocks[: (int(places[-1]) + 1) // SMALLEST])

    def truth(read: Callable[[Equivariance], pd.DataFrame]) -> pd.DataFrame:
        whole = read(choose(torch.arange(len(state["blocks"]))))
        place = [each for each in ("layer", "part", "over", "score") if each in whole]
        return whole[place].assign(truth=(whole.value + whole.cross_fitted) / 2)

    return Source("ResNet-44", some, draw, truth)


def equivariances(metric: Equivariance) -> pd.DataFrame:
    """The equivariance of each layer and reading, behind pooling of one."""
    table = metric.compute()
    return table[(table.score == "equivariance") & ~((table.over != "image") & table.layer.isin(["pool", "final"]))]


def errors(source: Source) -> pd.DataFrame:
    """Means and spreads over the choices of images, and how often what holds the truth."""
    truth, tables = source.truth(equivariances), []
    for count in IMAGES:
        for _ in range(REPETITIONS):
            source.draw()(torch.arange(count))
            tables.append(equivariances(source.metric))
    found = pd.concat(tables).merge(truth)
    half = found.high - found.value  # none is as high as 1
    found = found.assign(
        network=source.name,
        plug_in=found.value,
        middle=(found.value + found.cross_fitted) / 2,
        bracket_holds=found.truth.between(found.cross_fitted, found.value),
        plug_in_interval_holds=found.truth.between(found.value - half, found.high),
        interval_holds=found.truth.between(found.low, found.high),
    )
    each = found.groupby(CASE, sort=False)
    means, spread = each[[*ENDS, "low", "high"]].mean(), each[ENDS].std().add_suffix("_sd")
    shares = each[["bracket_holds", "plug_in_interval_holds", "interval_holds"]].mean()
    return pd.concat([each.size().rename("repetitions"), means, spread, shares], axis=1).reset_index()


def looks(source: Source, precision: Precision) -> pd.DataFrame:
    """Of measurements that end by themselves, the mean number of images, and how often brackets hold the truth.

    Each takes the images in another order, and is to end while they are a small share of all.
    """
    metric, truth, tables = source.metric, source.truth(Equivariance.brackets), []
    for _ in range(LOOKED):
        add = source.draw()
        for places, _ in precision.enough([(torch.arange(max(IMAGES)), None)], metric):
            add(places)
        tables.append(metric.brackets(level=precision.level(metric)).assign(images=metric.images))
    found = pd.concat(tables).merge(truth)
    found["holds"] = found.truth.between(found.low, found.high)
    return found.groupby(["part", "over", "score"], sort=False)[["images", "holds"]].mean()


def main(file: str, data_dir: str, what: str = "", folder: Path = EXPERIMENTS / "few_images") -> None:
    """Measure all cases and write the table; or print what `looks` says of each."""
    generator, tables = torch.Generator(), []
    sources = {f"{name}, 64 channels": partial(of_made, name, 64) for name in MADE}
    sources |= {"one partner, 512 channels": partial(of_made, "one partner", 512)}
    sources |= {"ResNet-44": partial(of_network, file, data_dir)}
    if what == "looks":
        del sources["independent, 64 channels"]  # the truth is the end of the scale
    for title, make in sources.items():
        source = make(generator.manual_seed(0))
        if what == "looks":
            precision = Precision(0.05) if title == "ResNet-44" else Precision(0.07, PARTS)
            print(f"{title}\n{looks(source, precision).to_string()}", flush=True)
            continue
        tables.append(errors(source))
        print(f"{title}\n{tables[-1].drop(columns=['network', 'repetitions']).to_string(index=False)}", flush=True)
    if tables:
        write_csv(folder / "errors.csv", pd.concat(tables))
        print(f"wrote {folder / 'errors.csv'}")


if __name__ == "__main__":
    command_line(main)
