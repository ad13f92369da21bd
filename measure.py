"""One measurement of one network: `python measure.py model=cnn7 dataset=mnist6 measure=rotation`.

Measures the network that `train.py` trained with the same configuration, published weights of it
(`model.weights=FILE`), or the same network untrained (`measure.trained=false`), and writes rows, a figure, the
indices of the images and what it took below the run's folder.
`torchrun --nproc_per_node=K measure.py ...` splits the images over K processes, to the same result.
"""

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from equivariance import models
from equivariance.analysis import plots
from equivariance.cli import entrypoint, recorded, stoppable
from equivariance.data import datasets as data
from equivariance.data.image_files import Stream
from equivariance.errors import UserError
from equivariance.layers.find import survey, table
from equivariance.models import weights
from equivariance.progress import progress
from equivariance.runs import results, rows
from equivariance.runs.cost import Cost
from equivariance.runs.folder import Run, git_commit, load_weights, measurement_folder
from equivariance.runs.processes import Processes, processes
from equivariance.runs.tracking import tracked
from equivariance.scores.metric import (
    STATISTICS,
    Measurement,
    affordable_blocks,
    affordable_images,
    affordable_layers,
    feed,
)
from equivariance.training.hardware import Hardware
from equivariance.training.trainer import evaluate

SAVE_EVERY = 60  # seconds between two savings of what has been measured so far, or more where one takes long


@entrypoint
def main(cfg: DictConfig) -> None:
    with processes() as process, recorded(measurement_folder(cfg)) if "zoo" in cfg else nullcontext():
        measure(cfg, process)


def measure(cfg: DictConfig, process: Processes) -> None:
    """This process's share of the images; the first process merges all shares and writes the result."""
    if cfg.measure.similarity not in STATISTICS:
        raise UserError(f"measure.similarity={cfg.measure.similarity}: choose {', '.join(STATISTICS)}")
    hardware = Hardware.for_measuring(**cfg.hardware)
    run = Run(Path(cfg.run_dir))
    cfg.dataset = models.prepare(cfg.dataset, cfg.model, say=print if process.first else None)
    folder = measurement_folder(cfg)
    transforms = instantiate(cfg.measure.transform, _convert_="all")
    if cfg.measure.dry_run:
        show_layers(cfg, hardware)
        return
    images = data.load(cfg.dataset, "held_out", decode=False)
    for transform in transforms:
        transform.check(*images.pixels.shape[2:])
    chosen = images.choose(cfg.measure.images, cfg.measure.image_seed)
    if len(chosen) < cfg.measure.images and process.first:
        print(f"measuring all {len(images)} held-out images: measure.images={cfg.measure.images} are not there")

    torch.manual_seed(cfg.seed)
    network = cfg.model if cfg.measure.trained else models.untrained(cfg.model)
    model = hardware.place(models.build(network, images.pixels.shape[1:], images.num_classes)).eval()
    published = models.brings_weights(network)
    if published:
        made = {"epoch": None, "epochs": None, "aug": None}  # the weights do not say
    else:
        made = load_weights(model, cfg, run) if cfg.measure.trained else {"epoch": 0, "epochs": 0}
    config = {
        "model": OmegaConf.to_container(network, resolve=True),
        "measure": OmegaConf.to_container(cfg.measure, resolve=True),
        "images": images.digest(chosen),
        "normalisation": {key: list(cfg.dataset[key]) for key in ("mean", "std")},
        "weights": weights.digest(model),
    }
    provenance = {"git_commit": git_commit(), "torch_version": str(torch.__version__), "hardware": hardware.name}
    for key in ("batch_size", "dry_run", "whole_accuracy", "epoch"):  # no influence on the scores
        del config["measure"][key]
    for key in (
        "weights",
        "weights_key",
        "weights_dir",
        "published",
    ):  # where they lay, their digest says what they are; what others found
        config["model"].pop(key, None)
    images = images.to(hardware.device)

    with Run(folder).only_process() if process.first else nullcontext(), stoppable() as stop:
        if previous := results.finished(folder, config):
            if process.first:
                print(f"{folder} is complete:\n{rows.summary(rows.read(previous))}")
            return
        image = images.normalise(images.pixels[0].to(hardware.device))
        layers, left_out = survey(model, image, patterns(cfg.measure.layers))
        layers, too_wide = affordable_layers(layers, len(transforms))
        left_out |= too_wide
        classified = layers[-1].part == "final" and models.predicts_dataset_classes(
            cfg.model, images.classes, layers[-1].channels
        )
        if left_out and process.first:
            print(f"{len(layers)} layers; left out: {', '.join(left_out)} (measure.dry_run=true says why)")
            print("".join(f"left out: {name}: {reason}\n" for name, reason in too_wide.items()), end="")
        blocks = affordable_blocks(layers, len(transforms), cfg.measure.blocks)
        if blocks < cfg.measure.blocks and process.first:
            print(
                f"intervals from {blocks} blocks of images: the sums of {cfg.measure.blocks} need too much memory"
            )
        measurement = Measurement(
            model,
            layers,
            transforms,
            len(chosen),
            cfg.measure.similarity,
            blocks,
            images.labels[chosen] if classified else None,
        )
        start, end = process.share(len(chosen))
        measurement.done = start
        unfinished = results.unfinished(folder, process)
        results.resume(measurement, unfinished, config)
        resumed = measurement.done
        batch_size = affordable_images(cfg.measure.batch_size, hardware.device, image, 1 + len(transforms))
        stream = Stream(images.pixels, chosen[:end], resumed, batch_size, hardware.device, process.count)
        cost = Cost(hardware.device)

        def load(part: slice) -> torch.Tensor:
            return images.normalise(stream[part])

        title = f"{cfg.dataset.name} {cfg.model.name} {cfg.measure.name}"
        save_at = time.monotonic() + SAVE_EVERY
        with progress(title, end - start, measurement.done - start) as bar:
            for count in feed(measurement, load, end, batch_size):
                bar.update(count)
                if published and classified:
                    models.check_accuracy(cfg.model, measurement.correct, measurement.done - start)
                stopping = bool(stop)
                if stopping or time.monotonic() > save_at:
                    began = time.monotonic()
                    results.save(measurement, unfinished, config)
                    save_at = time.monotonic() + max(SAVE_EVERY, 20 * (time.monotonic() - began))
                if stopping:
                    print(f"\nstopped after {measurement.done - start} images; the same command goes on from there")
                    raise SystemExit(stop.exit_code)

        _, *others = process.gather(measurement.state()) or [None]
        if not process.first:
            return
        for other in others:
            measurement.merge(other)
        took = cost.so_far(end - resumed, stream.waited)
        took |= {"parameters": sum(p.numel() for p in model.parameters())}
        if classified:
            took |= {
                "top1": measurement.correct / len(chosen),
                "published": (cfg.model.get("published") or {}).get("top1"),
            }
        if published and classified:
            made["accuracy"] = took["top1"]
            if cfg.measure.whole_accuracy or isinstance(images.pixels, torch.Tensor):
                everything = Stream(images.pixels, torch.arange(len(images)), 0, batch_size, hardware.device)
                _, made["accuracy"] = evaluate(model, replace(images, pixels=everything), hardware, batch_size)
                took["top1_all"] = made["accuracy"]
        scores = results.score_rows(cfg, measurement, made | provenance)
        with tracked(cfg, "measure", folder, None, provenance) as tracker:
            training = "given weights" if published else f"{made['epoch']} epochs"
            trained = training if cfg.measure.trained else "untrained"
            headline = f"{cfg.model.name}, {cfg.dataset.name}, seed {cfg.seed}, {trained}: {transforms[0].name}"
            plots.save(plots.depth(scores, headline), folder / "depth.png")
            if cfg.measure.partners:
                results.write_partners(measurement, image[None], folder)
            results.write(folder, scores, config, chosen, took)
            tracker.scores(scores)
            tracker.image("depth", folder / "depth.png")
        print(f"{headline}, {len(chosen)} images\n{rows.summary(scores)}\n{results.took_text(took)}")
        print(f"rows and figure: {folder}")


def show_layers(cfg: DictConfig, hardware: Hardware) -> None:
    """Print the layers that would be measured; neither weights nor, for a library's network, data are needed."""
    shape, classes = models.input_shape(cfg.dataset, cfg.model), 1
    if shape is None:
        images = data.load(cfg.dataset, "held_out", decode=False)
        shape, classes = images.pixels.shape[1:], images.num_classes
    model = hardware.place(models.build(models.untrained(cfg.model), shape, classes)).eval()
    image = torch.zeros(shape, device=hardware.device)
    print(table(*survey(model, image, patterns(cfg.measure.layers))))


def patterns(given: str | list[str] | None) -> list[str] | None:
    """`measure.layers` as a list.

    Raises:
        UserError: it is no list of patterns.
    """
    given = OmegaConf.to_container(given) if OmegaConf.is_list(given) else [given] if given else None
    if given == [] or any(not isinstance(pattern, str) for pattern in given or ()):
        raise UserError(f"measure.layers={given}: needs patterns of module names, such as [layer*.*,fc]")
    return given


if __name__ == "__main__":
    main()
