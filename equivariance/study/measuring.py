"""What measure.py measures and how, made from the configuration: a network, its images, where the result goes."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from equivariance.errors import UserError
from equivariance.layers.find import find_layers
from equivariance.metric.equivariance import Equivariance
from equivariance.metric.precision import Precision
from equivariance.study import models
from equivariance.study.config import plain
from equivariance.study.data import datasets
from equivariance.study.data.datasets import Images
from equivariance.study.data.image_files import Stream
from equivariance.study.identity import about, measurement_config, measurement_folder, tracking, training_config
from equivariance.study.models import weights
from equivariance.study.models.computation import computation_digest
from equivariance.study.runs import results
from equivariance.study.runs.folder import Run
from equivariance.study.runs.processes import Processes
from equivariance.study.training.hardware import Hardware
from equivariance.transforms.protocol import Transformation


class Measurement:
    """One measurement of one network, as the configuration asks for it; of several processes, this one's share.

    Making it prints what differs from what was asked for.

    Attributes:
        about: what all rows say of the network: dataset, model, aug, width, trained, seed.
        measure: the configuration group `measure`, plain.
        network: the configuration group `model`, as the network was built.
        published: the network has weights that others have trained.
        training: columns of the rows on its training, as far as they are known: epoch, epochs, accuracy and so on.
        classifies: the logits are the classes of the images, so that the network has an accuracy on them.
        chosen: indices of the images.
        share: the places in `chosen` of this process's images, [start, stop).
        config: all that decides the rows, as plain values.
        tracking: arguments of `tracking.tracked`.
        waited: seconds, for images.
    """

    def __init__(self, cfg: DictConfig, process: Processes):
        say = print if process.first else None
        self.process, self.waited = process, 0.0
        self.about, self.measure = about(cfg), plain(cfg.measure)
        self.folder, self.tracking = measurement_folder(cfg), tracking(cfg)
        self.precision = Precision(self.measure["until"], self.measure["until_parts"])
        if self.precision.until is not None and process.count > 1:
            raise UserError(f"measure.until={self.precision.until:g}: needs one process, not {process.count}")
        self.hardware = Hardware.for_measuring(**cfg.hardware)

        cfg.dataset = models.prepare(cfg.dataset, cfg.model, say=say)
        images = datasets.load(cfg.dataset, "held_out", decode=False)
        shape = images.pixels.shape[1:]
        transforms = _transforms(cfg.measure.transform, shape[1:])
        self.images = images.to(self.hardware.device)
        self.chosen = _choose(images, self.measure["images"], self.measure["image_seed"], say)
        self.share = process.share(len(self.chosen))

        torch.manual_seed(cfg.seed)
        self.network = cfg.model if self.measure["trained"] else models.untrained(cfg.model)
        self.published = models.brings_weights(self.network)
        model = models.build(self.network, shape, images.num_classes)
        computation = computation_digest(model, shape)  # on the CPU: devices differ in it
        self.model = self.hardware.place(model).eval()
        self.training = self._load_training(cfg, computation)

        given = {key: self.measure[key] for key in ("over", "similarity", "scores", "blocks", "batch_size")}
        given = {key: value for key, value in given.items() if value}  # null scores: the two of the papers
        self.metric = Equivariance(self.model, transforms, self.measure["layers"], **given)
        self.metric.setup(self.example)
        self.metric.reset(self.share[0])
        self.classifies = models.predicts_dataset_classes(self.network, images.classes, self.metric.classes)
        normalisation = {key: list(cfg.dataset[key]) for key in ("mean", "std")}
        digests = {"images": images.digest(self.chosen), "weights": weights.digest(self.model)}
        digests |= {"computation": computation}
        self.config = measurement_config(cfg, self.network, normalisation=normalisation, **digests)

    def _load_training(self, cfg: DictConfig, computation: str) -> dict[str, Any]:
        """Load the weights of a training, if it is one that is measured; what is known of it, see `training`."""
        epoch = self.measure["epoch"]
        if self.measure["trained"] and not self.published:
            config = training_config(cfg, computation=computation)
            return Run(Path(cfg.run_dir)).load_weights(self.model, config, self.images.classes, epoch)
        if epoch is not None:
            what = "given weights have" if self.published else "an untrained network has"
            raise UserError(f"measure.epoch={epoch}: {what} no epochs; give measure.epoch=null")
        return {"epoch": None, "epochs": None, "aug": None} if self.published else {"epoch": 0, "epochs": 0}

    @property
    def title(self) -> str:
        return f"{self.about['dataset']} {self.about['model']} {self.measure['name']}"

    @property
    def example(self) -> Tensor:
        """One normalised image, (1, c, h, w)."""
        return self.images.normalise(self.images.pixels[:1].to(self.hardware.device))

    @property
    def complete(self) -> bool:
        """Whether the rows are there already; a UserError where the folder holds those of another measurement."""
        return results.finished(self.folder, self.config) is not None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other measurements out of the folder, and say what to change where memory runs out."""
        with ExitStack() as stack:
            if self.process.first:
                stack.enter_context(Run(self.folder).only_process())
            stack.enter_context(self.hardware.explain_failures("measure.blocks", self.measure["blocks"]))
            yield

    def resume(self) -> results.Unfinished:
        """Go on with the statistics that an interrupted process has kept, if there are any; where to keep them."""
        unfinished = results.Unfinished(self.folder, self.process, self.config)
        if state := unfinished.load():
            self.metric.load_state_dict(state)
            print(f"going on after {self.metric.images} images")
        return unfinished

    def batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """What this process has not measured yet and still needs: images, normalised, and labels, by batch."""
        return self.precision.enough(self._batches(), self.metric)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        start, stop = self.share[0] + self.metric.images, self.share[1]
        chosen, size = self.chosen[:stop], self.metric.batch_size
        stream = Stream(self.images.pixels, chosen, start, size, self.hardware.device, self.process.count)
        labels = self.images.labels[chosen.to(self.images.labels.device)] if self.classifies else None
        for first in range(start, stop, size):
            part = slice(first, first + size)
            yield self.images.normalise(stream[part]), None if labels is None else labels[part]
            self.waited = stream.waited

    def check(self) -> None:
        """Refuse a network that is not the published one by its accuracy, or none of whose layers is alive."""
        metric, image = self.metric, self.example
        if metric.prepare(image) is image:  # published is the accuracy of whole images
            self.check_accuracy(metric.accuracy, metric.images)
        metric.check_alive()

    def check_accuracy(self, top1: float, images: int) -> None:
        """Refuse given weights that are right on far fewer of these images, which are whole, than is published."""
        if self.published:
            models.check_accuracy(self.network, top1, images)


def layer_table(cfg: DictConfig, say: Callable[[str], None] | None) -> str:
    """The layers that would be measured; neither weights nor, for a library's network, data are needed."""
    hardware = Hardware.for_measuring(**cfg.hardware)
    dataset = models.prepare(cfg.dataset, cfg.model, say=say)
    shape, classes = models.input_shape(dataset, cfg.model), 1000
    if shape is None:
        images = datasets.load(dataset, "held_out", decode=False)
        shape, classes = images.pixels.shape[1:], images.num_classes
    model = hardware.place(models.build(models.untrained(cfg.model), shape, classes)).eval()
    return str(find_layers(model, torch.zeros(shape, device=hardware.device), plain(cfg.measure)["layers"]))


def _choose(images: Images, wanted: int, seed: int, say: Callable[[str], None] | None) -> Tensor:
    """Indices of the images that are measured: as many as are wanted, as far as they are there."""
    chosen = images.choose(wanted, seed)
    if len(chosen) < wanted and say:
        say(f"measuring all {len(images)} held-out images: measure.images={wanted} are not there")
    if len(chosen) < 2:
        raise UserError("the data set has one held-out image: needs at least two")
    return chosen


def _transforms(node: DictConfig, size: Sequence[int]) -> list[Transformation]:
    """The transformations of `measure.transform`, which images of this size (h, w) allow."""
    try:
        found = instantiate(node, _convert_="all")
        if not isinstance(found, list) or not all(hasattr(g, "align") for g in found):
            raise UserError(f"_target_={node._target_}: gives no transformations")
        for g in found:
            g.check(*size)
    except (InstantiationException, UserError) as error:
        cause = (error.__cause__ or error) if isinstance(error, InstantiationException) else error
        if not isinstance(cause, UserError):
            cause = UserError(f"_target_={node._target_}: {' '.join(str(cause).split())}")
        argument = re.match(r"(\w+)[:=]", str(cause))  # errors of the library name it
        key = "measure.transform." if argument and argument[1] in node else ""
        raise UserError(f"{key}{cause}") from error
    return found
