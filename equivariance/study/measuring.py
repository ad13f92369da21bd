"""What measure.py measures and how, made from the configuration: a network, its images, where the result goes."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

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


@dataclass
class Measurement:
    """One measurement of one network, made by `prepare`; of several processes, this one's share.

    Attributes:
        about: what all rows say of the network: dataset, model, aug, width, trained, seed.
        measure: the configuration group `measure`, plain.
        network: the configuration group `model`, as the network was built.
        published: the network has weights that others have trained.
        training: epoch, epochs, accuracy and precision of its training, as far as they are known.
        classifies: the logits are the classes of the images, so that the network has an accuracy on them.
        chosen: indices of the images.
        share: the places in `chosen` of this process's images, [start, stop).
        config: all that decides the rows, as plain values.
        tracking: arguments of `tracking.tracked`.
    """

    about: dict[str, Any]
    measure: dict[str, Any]
    network: DictConfig
    published: bool
    training: dict[str, Any]
    model: nn.Module
    metric: Equivariance
    precision: Precision
    images: Images
    classifies: bool
    chosen: Tensor
    share: tuple[int, int]
    hardware: Hardware
    process: Processes
    folder: Path
    config: dict[str, Any]
    tracking: dict[str, Any]
    waited: float = field(default=0.0)  # seconds, for images

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
        metric = self.metric
        if self.published and metric.correct is not None:
            models.check_accuracy(self.network, metric.correct, metric.images)
        metric.check_alive()


def prepare(cfg: DictConfig, process: Processes) -> Measurement:
    """The measurement that the configuration asks for. Prints what differs from what was asked for."""
    say = print if process.first else None
    measure = plain(cfg.measure)
    precision = Precision(measure["until"], measure["until_parts"])
    if precision.until is not None and process.count > 1:
        raise UserError(f"measure.until={precision.until:g}: needs one process, not {process.count}")
    hardware = Hardware.for_measuring(**cfg.hardware)
    cfg.dataset = models.prepare(cfg.dataset, cfg.model, say=say)
    images = datasets.load(cfg.dataset, "held_out", decode=False)
    transforms = _transforms(cfg.measure.transform, images.pixels.shape[-2:])
    chosen = images.choose(measure["images"], measure["image_seed"])
    if len(chosen) < measure["images"] and say:
        say(f"measuring all {len(images)} held-out images: measure.images={measure['images']} are not there")
    if len(chosen) < 2:
        raise UserError(f"dataset {cfg.dataset.name} has one held-out image: needs at least two")
    torch.manual_seed(cfg.seed)
    network = cfg.model if measure["trained"] else models.untrained(cfg.model)
    channels, height, width = images.pixels.shape[1:]
    shape = channels, height, width
    model = models.build(network, shape, images.num_classes)
    computation = computation_digest(model, shape)  # on the CPU: devices differ in it
    model, images = hardware.place(model).eval(), images.to(hardware.device)
    published = models.brings_weights(network)
    training: dict[str, Any] = {"epoch": 0, "epochs": 0}
    if measure["epoch"] is not None and (published or not measure["trained"]):
        what = "given weights have" if published else "an untrained network has"
        raise UserError(f"measure.epoch={measure['epoch']}: {what} no epochs; give measure.epoch=null")
    if published:
        training = {"epoch": None, "epochs": None, "aug": None}  # the weights do not say
    elif measure["trained"]:
        trained = training_config(cfg, computation=computation)
        training = Run(Path(cfg.run_dir)).load_weights(model, trained, images.classes, measure["epoch"])
    share = process.share(len(chosen))
    metric = Equivariance(
        model,
        transforms,
        _patterns(measure["layers"]),
        **{key: measure[key] for key in ("over", "similarity", "blocks", "batch_size")},
        **({"scores": measure["scores"]} if measure["scores"] else {}),
    )
    metric.setup(images.normalise(images.pixels[:1].to(hardware.device)))
    metric.reset(share[0])
    identity = {
        "normalisation": {key: list(cfg.dataset[key]) for key in ("mean", "std")},
        "images": images.digest(chosen),
        "weights": weights.digest(model),
        "computation": computation,
    }
    return Measurement(
        about=about(cfg),
        measure=measure,
        network=network,
        published=published,
        model=model,
        metric=metric,
        precision=precision,
        images=images,
        classifies=metric.classes is not None
        and models.predicts_dataset_classes(network, images.classes, metric.classes),
        training=training,
        chosen=chosen,
        share=share,
        hardware=hardware,
        process=process,
        folder=measurement_folder(cfg),
        config=measurement_config(cfg, network, **identity),
        tracking=tracking(cfg),
    )


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
    patterns = _patterns(plain(cfg.measure)["layers"])
    return str(find_layers(model, torch.zeros(shape, device=hardware.device), patterns))


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
            raise UserError(
                f"measure.transform._target_={node._target_}: {' '.join(str(cause).split())}"
            ) from error
        argument = re.match(r"(\w+)[:=]", str(cause))  # errors of the library name it
        key = "measure.transform." if argument and argument[1] in node else ""
        raise UserError(f"{key}{cause}") from error
    return found


def _patterns(layers: str | list[str] | None) -> list[str] | None:
    """`measure.layers` as a list."""
    return [layers] if isinstance(layers, str) else layers or None
