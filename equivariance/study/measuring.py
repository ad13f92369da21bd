"""What measure.py measures and how, from the configuration; and the report of what it has found.

Beside the entry points and cli/ this is the one module that reads the configuration as a whole.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from equivariance import rows
from equivariance.errors import UserError
from equivariance.figures import depth, partners, style
from equivariance.figures.summary import summary
from equivariance.layers.find import find_layers
from equivariance.metric import partners as channel_matching
from equivariance.metric.equivariance import Equivariance
from equivariance.study import models
from equivariance.study.config import plain
from equivariance.study.data import datasets
from equivariance.study.data.image_files import Stream
from equivariance.study.models import weights
from equivariance.study.models.computation import computation_digest
from equivariance.study.runs import results
from equivariance.study.runs.folder import Run, load_weights, provenance
from equivariance.study.runs.tracking import tracked
from equivariance.study.training.hardware import Hardware
from equivariance.study.training.trainer import evaluate
from equivariance.transforms.protocol import Transformation


class Subject:
    """A network in evaluation mode, the images that are chosen to measure it, and how they are measured.

    Attributes:
        network: the configuration group `model`, as the network was built.
        computation: identifies what the network computes, apart from its weights.
        training: epoch, epochs, accuracy and precision of its training, as far as they are known.
        published: the network has weights that others have trained.
        patterns: of the modules to measure; None for the network's own layers.
        reading: further arguments of `Equivariance`.
    """

    def __init__(self, cfg: DictConfig, say: Callable[[str], None] | None):
        self.cfg, self.hardware = cfg, Hardware.for_measuring(**cfg.hardware)
        cfg.dataset = models.prepare(cfg.dataset, cfg.model, say=say)
        self.patterns = _patterns(cfg)
        images = datasets.load(cfg.dataset, "held_out", decode=False)
        self.transforms = _transforms(cfg.measure.transform, images.pixels.shape[-2:])
        self.chosen = images.choose(cfg.measure.images, cfg.measure.image_seed)
        if len(self.chosen) < cfg.measure.images and say:
            say(f"measuring all {len(images)} held-out images: measure.images={cfg.measure.images} are not there")
        if len(self.chosen) < 2:
            raise UserError(f"dataset {cfg.dataset.name} has one held-out image: needs at least two")
        torch.manual_seed(cfg.seed)
        self.network = cfg.model if cfg.measure.trained else models.untrained(cfg.model)
        channels, height, width = images.pixels.shape[1:]
        model = models.build(self.network, (channels, height, width), images.num_classes)
        self.computation = computation_digest(model, (channels, height, width))  # on the CPU: devices differ in it
        self.model, self.images = self.hardware.place(model).eval(), images.to(self.hardware.device)
        self.published = models.brings_weights(self.network)
        self.training: dict[str, Any] = {"epoch": 0, "epochs": 0}
        if self.published:
            self.training = {"epoch": None, "epochs": None, "aug": None}  # the weights do not say
        elif cfg.measure.trained:
            self.training = load_weights(self.model, cfg, Run(Path(cfg.run_dir)))
        measure = plain(cfg.measure)
        self.reading = {key: measure[key] for key in ("over", "similarity", "blocks", "batch_size")}
        self.reading |= {"scores": measure["scores"]} if measure["scores"] else {}

    @property
    def example(self) -> Tensor:
        """One normalised image, (1, c, h, w)."""
        return self.images.normalise(self.images.pixels[:1].to(self.hardware.device))

    def identity(self) -> dict[str, Any]:
        """What identifies the images, how they are normalised, the weights, and what the network computes."""
        return {
            "normalisation": {key: list(self.cfg.dataset[key]) for key in ("mean", "std")},
            "images": self.images.digest(self.chosen),
            "weights": weights.digest(self.model),
            "computation": self.computation,
        }

    def announce(self, metric: Equivariance) -> None:
        """Say which layers are left out, and whether the memory allows fewer blocks than were asked for."""
        if metric.left_out:
            names = ", ".join(metric.left_out)
            print(f"{len(metric.layers)} layers; left out: {names} (measure.dry_run=true says why)")
        if metric.too_wide:
            print(f"no linear score where there are too many channels: {', '.join(metric.too_wide)}")
        if metric.blocks_at_most < self.cfg.measure.blocks:
            print(f"at most {metric.blocks_at_most} blocks of images: the sums of more need too much memory")

    def batches(
        self, metric: Equivariance, start: int, stop: int, processes: int
    ) -> tuple[Stream, Iterator[tuple[Tensor, Tensor | None]]]:
        """The chosen images from `start` up to `stop`: their stream, and uint8 images with labels by batch."""
        chosen, size = self.chosen[:stop], metric.batch_size
        stream = Stream(self.images.pixels, chosen, start, size, self.hardware.device, processes)
        labels = self.images.labels[chosen.to(self.images.labels.device)] if self.classifies(metric) else None
        parts = (slice(first, first + size) for first in range(start, stop, size))
        return stream, ((stream[part], None if labels is None else labels[part]) for part in parts)

    def classifies(self, metric: Equivariance) -> bool:
        """Whether the logits are the classes of the images, so that the network has an accuracy on them."""
        return metric.logits is not None and models.predicts_dataset_classes(
            self.cfg.model, self.images.classes, metric.logits.channels
        )

    def check_accuracy(self, metric: Equivariance) -> None:
        """Refuse a network whose accuracy is far below the one that is published for its weights."""
        if self.published and metric.correct is not None:
            models.check_accuracy(self.cfg.model, metric.correct, metric.images)

    def check_alive(self, metric: Equivariance) -> None:
        """Refuse a network none of whose layers has a channel that varies, in the images measured so far."""
        if metric.images and len(dead := metric.dead_layers()) == len(metric.layers):
            raise UserError(
                f"model {self.cfg.model.name}: no channel varies over the images, from layer {dead[0]} on; "
                "look at the weights and at how the images are normalised"
            )

    def accuracies(self, metric: Equivariance) -> dict[str, float | None]:
        """Top-1 on the measured images, on all held-out ones for given weights, and as published."""
        if not self.classifies(metric):
            return {}
        found = {"top1": metric.accuracy, "published": (self.cfg.model.get("published") or {}).get("top1")}
        whole = self.cfg.measure.whole_accuracy
        if self.published and (isinstance(self.images.pixels, Tensor) if whole is None else whole):
            place = 0, metric.batch_size, self.hardware.device
            everything: Any = Stream(self.images.pixels, torch.arange(len(self.images)), *place)
            images = replace(self.images, pixels=everything)
            _, found["top1_all"] = evaluate(self.model, images, self.hardware, metric.batch_size)
        return found


def report(
    cfg: DictConfig,
    subject: Subject,
    metric: Equivariance,
    folder: Path,
    config: dict[str, Any],
    cost: dict[str, Any],
) -> None:
    """Write rows, figures and cost, print the summary, and track everything."""
    cost |= {"parameters": sum(p.numel() for p in subject.model.parameters())} | subject.accuracies(metric)
    training = dict(subject.training)
    if subject.published and "top1" in cost:
        training["accuracy"] = cost.get("top1_all", cost["top1"])
    here = provenance(subject.hardware.name)
    scores = results.score_rows(cfg, metric.compute(), training | here)
    first = rows.of_first_over(scores)  # the others are in the rows
    with tracked(cfg, "measure", folder, None, here) as tracker:
        epochs = "given weights" if subject.published else f"{training['epoch']} epochs"
        trained = epochs if cfg.measure.trained else "untrained"
        name = f"{cfg.model.name}, {cfg.dataset.name}, seed {cfg.seed}, {trained}: {subject.transforms[0].name}"
        style.save(depth.depth(first, name), folder / "depth.png")
        results.keep_partners(metric.partners(), folder)
        report_partners(subject, metric, folder)
        results.write(folder, scores, config, subject.chosen.tolist(), cost)
        tracker.scores(scores)
        tracker.image("depth", folder / "depth.png")
    print(f"{name}\n{summary(scores)}\n{results.format_cost(cost)}")
    print(f"rows and figure: {folder}")


def report_partners(subject: Subject, metric: Equivariance, folder: Path) -> None:
    """Where `measure.partners` asks for it: partner channels, what they come to by layer, pictures.

    Args:
        metric: gives the maps of one image, and need not have measured any; the partners are the kept ones.
    """
    asked = plain(subject.cfg.measure)["partners"]
    choice = {key: value for key, value in asked.items() if value is not None} if isinstance(asked, dict) else {}
    if not choice and asked is not True:
        return
    found = results.kept_partners(folder)
    orbits = channel_matching.orbits(metric, subject.example, found, **choice)
    shares, composition = channel_matching.shares(found), channel_matching.composition(found)
    by_layer = shares.merge(composition, on=["index", "layer", "transform"], how="left")
    results.write_partners(found, by_layer, folder)
    print(by_layer.drop(columns="index").to_string(index=False, float_format="{:.2f}".format))
    name = subject.transforms[0].name
    style.save(partners.channels(found, f"{subject.cfg.model.name}: {name}"), folder / "channels")
    if orbits:
        elements = ["x", *(f"{g.element}" for g in metric.transforms)]
        images = metric.prepare(subject.example)
        copies = torch.cat([images, *(g.act(images) for g in metric.transforms)])
        drawn = partners.orbits(orbits, elements, name, shown(copies))
        style.save(drawn, folder / "orbits")
    names = ", ".join(file for file in ("partners.csv", "channels.png", "orbits.png") if (folder / file).exists())
    print(f"partner channels: {names} in {folder}")


def shown(images: Tensor) -> np.ndarray:
    """Normalised images (n, c, h, w) as (n, h, w), or (n, h, w, 3) where they are coloured, in [0, 1]."""
    pixels = (images if images.shape[1] == 3 else images[:, :1]).float().cpu().nan_to_num(0)
    low, high = pixels.amin((0, 2, 3), keepdim=True), pixels.amax((0, 2, 3), keepdim=True)
    scaled = (pixels - low) / (high - low).clamp(min=1e-12)
    return scaled.movedim(1, -1).squeeze(-1).numpy()


def layer_table(cfg: DictConfig, say: Callable[[str], None] | None) -> str:
    """The layers that would be measured; neither weights nor, for a library's network, data are needed."""
    hardware = Hardware.for_measuring(**cfg.hardware)
    dataset = models.prepare(cfg.dataset, cfg.model, say=say)
    shape, classes = models.input_shape(dataset, cfg.model), 1000
    if shape is None:
        images = datasets.load(dataset, "held_out", decode=False)
        channels, height, width = images.pixels.shape[1:]
        shape, classes = (channels, height, width), images.num_classes
    model = hardware.place(models.build(models.untrained(cfg.model), shape, classes)).eval()
    return str(find_layers(model, torch.zeros(shape, device=hardware.device), _patterns(cfg)))


def _transforms(cfg: DictConfig, size: Sequence[int]) -> list[Transformation]:
    """The transformations of `measure.transform`, which images of this size (h, w) allow."""
    try:
        found = instantiate(cfg, _convert_="all")
        if not isinstance(found, list) or not all(hasattr(g, "align") for g in found):
            raise UserError(f"_target_={cfg._target_}: gives no transformations")
        for g in found:
            g.check(*size)
    except (InstantiationException, UserError) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(cause, UserError):
            raise
        argument = re.match(r"(\w+)[:=]", str(cause))  # errors of the library name it
        key = "measure.transform." if argument and argument[1] in cfg else ""
        raise UserError(f"{key}{cause}") from error
    return found


def _patterns(cfg: DictConfig) -> list[str] | None:
    """`measure.layers` as a list."""
    layers = cfg.measure.layers
    return [layers] if isinstance(layers, str) else list(layers) if layers else None
