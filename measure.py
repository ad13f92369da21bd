"""One measurement of one network: `python measure.py model=cnn7 dataset=mnist6 measure=rotation`.

Measures the network that `train.py` trained with the same configuration, published weights of it
(`model.weights=FILE`), or the same network untrained (`measure.trained=false`), and writes rows, a figure and the
indices of the images below the run's folder.
`torchrun --nproc_per_node=K measure.py ...` splits the images over K processes, to the same result.
"""

import hashlib
import io
import pickle
import time
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from equivariance import data, models, partners, plots, rows
from equivariance.cli import entrypoint, experiment, progress, stoppable
from equivariance.data import Images
from equivariance.errors import UserError
from equivariance.features import survey, table
from equivariance.files import write_whole
from equivariance.hardware import Hardware
from equivariance.measure import STATISTICS, Measurement, feed
from equivariance.processes import Processes, processes
from equivariance.runs import Run, first_difference, git_commit, load_weights, measurement_folder
from equivariance.tracking import tracked
from equivariance.training import evaluate

SAVE_EVERY = 60  # seconds between two savings of what has been measured so far


@entrypoint
def main(cfg: DictConfig) -> None:
    with processes() as process:
        measure(cfg, process)


def measure(cfg: DictConfig, process: Processes) -> None:
    """This process's share of the images; the first process merges all shares and writes the result."""
    if cfg.measure.similarity not in STATISTICS:
        raise UserError(f"measure.similarity={cfg.measure.similarity}: choose {', '.join(STATISTICS)}")
    hardware = Hardware(**{**cfg.hardware, "precision": "float32"})  # as every measurement
    transforms = instantiate(cfg.measure.transform, _convert_="all")
    run = Run(Path(cfg.run_dir))
    folder = measurement_folder(cfg)
    cfg.dataset = models.prepare(cfg.dataset, cfg.model)
    if cfg.measure.dry_run:
        show_layers(cfg, hardware)
        return
    images = data.load(cfg.dataset, "held_out")
    for transform in transforms:
        transform.check(*images.pixels.shape[2:])
    chosen = choose(images, cfg.measure.images, cfg.measure.image_seed, say=process.first)

    torch.manual_seed(cfg.seed)
    network = cfg.model if cfg.measure.trained else models.untrained(cfg.model)
    model = hardware.place(models.build(network, images)).eval()
    published = models.brings_weights(network)
    if published:
        made = {"epochs": None, "aug": None}  # the weights do not say
    else:
        made = load_weights(model, cfg, run) if cfg.measure.trained else {"epochs": 0}
    config = {
        "model": OmegaConf.to_container(network, resolve=True),
        "measure": OmegaConf.to_container(cfg.measure, resolve=True),
        "images": images.digest(),
        "weights": digest(model),
    }
    provenance = {"git_commit": git_commit(), "torch_version": str(torch.__version__), "hardware": hardware.name}
    for key in ("batch_size", "dry_run"):  # no influence on the result
        del config["measure"][key]
    config["model"].pop("weights", None)  # where they lay; their digest says what they are

    with Run(folder).only_process() if process.first else nullcontext(), stoppable() as stop:
        if previous := finished(folder, config):
            if process.first:
                print(f"{folder} is complete:\n{rows.summary(rows.read(previous))}")
            return
        image = images.normalise(images.pixels[0]).to(hardware.device)
        layers, left_out = survey(model, image, patterns(cfg.measure.layers))
        if left_out and process.first:
            print(f"{len(layers)} layers; left out: {', '.join(left_out)} (measure.dry_run=true says why)")
        measurement = Measurement(
            model, layers, transforms, len(chosen), cfg.measure.similarity, cfg.measure.blocks
        )
        start, end = process.share(len(chosen))
        measurement.done = start
        unfinished = folder / f".statistics-{process.rank + 1}-of-{process.count}.pt"
        resume(measurement, unfinished, config)

        def save() -> None:
            buffer = io.BytesIO()
            torch.save({"config": config, "state": measurement.state()}, buffer)
            write_whole(unfinished, buffer.getvalue())

        def load(part: slice) -> torch.Tensor:
            return images.normalise(images.pixels[chosen[part]]).to(hardware.device)

        title = f"{cfg.dataset.name} {cfg.model.name} {cfg.measure.name}"
        saved = time.monotonic()
        with progress(title, end - start, measurement.done - start) as bar:
            for count in feed(measurement, load, end, cfg.measure.batch_size):
                bar.update(count)
                stopping = bool(stop)
                if stopping or time.monotonic() - saved > SAVE_EVERY:
                    save()
                    saved = time.monotonic()
                if stopping:
                    print(f"\nstopped after {measurement.done - start} images; the same command goes on from there")
                    raise SystemExit(stop.exit_code)

        _, *others = process.gather(measurement.state()) or [None]
        if not process.first:
            return
        for other in others:
            measurement.merge(other)
        if published and logits(model, image) == len(images.classes):
            _, made["accuracy"] = evaluate(model, images.to(hardware.device), hardware, cfg.measure.batch_size)
        result = score_rows(cfg, measurement, made | provenance)
        with tracked(cfg, "measure", folder, None, provenance) as tracker:
            figure = folder / "depth.png"
            training = "given weights" if published else f"{made['epochs']} epochs"
            trained = training if cfg.measure.trained else "untrained"
            headline = f"{cfg.model.name}, {cfg.dataset.name}, seed {cfg.seed}, {trained}: {transforms[0].name}"
            plots.save(plots.depth(result, headline), figure)
            write_whole(folder / "images.csv", "index\n" + "\n".join(map(str, chosen.tolist())) + "\n")
            write_whole(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
            rows.write(folder / "results.csv", result)  # last: it makes the measurement complete
            if cfg.measure.partners:
                save_partners(measurement, images.normalise(images.pixels[chosen[:1]]).to(hardware.device), folder)
            for part in folder.glob(".statistics-*"):
                part.unlink()
            tracker.table("scores", result)
            tracker.image("depth", figure)
        print(f"{headline}, {len(chosen)} images\n{rows.summary(result)}\nrows and figure: {folder}")


def save_partners(measurement: Measurement, image: torch.Tensor, folder: Path) -> None:
    """Partner channels, what they come to by layer, and a picture of the strongest orbits on one image."""
    found = measurement.partners()
    by_layer = partners.shares(found).merge(partners.composition(found), on=["index", "layer"], how="left")
    for name, content in (("partners", found), ("partner_shares", by_layer)):
        write_whole(folder / f"{name}.csv", content.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    print(by_layer.drop(columns="index").to_string(index=False, float_format="{:.2f}".format))
    orbits = list(partners.strongest(found, 4))
    if orbits:
        plots.save(plots.orbits(measurement, orbits, image), folder / "orbits.png")


def score_rows(cfg: DictConfig, measurement: Measurement, provenance: dict) -> pd.DataFrame:
    """The scores as rows, see `rows.COLUMNS`."""
    return pd.DataFrame(
        {
            "experiment": experiment(),
            "dataset": cfg.dataset.name,
            "model": cfg.model.name,
            "aug": cfg.aug.name,
            "width": cfg.model.get("width"),
            "trained": cfg.measure.trained,
            "seed": cfg.seed,
            "layer": score.layer.name,
            "index": score.layer.index,
            "part": score.layer.part,
            "transform": score.transform.name,
            "element": score.transform.element,
            "measure": score.measure,
            "similarity": cfg.measure.similarity,
            "value": score.value,
            "chance": score.chance,
            "low": score.low,
            "high": score.high,
            "activation": score.activation,
            "images": measurement.bounds[-1],
            "channels": score.layer.channels,
            "dead_channels": score.dead_channels,
            **provenance,
        }
        for score in measurement.scores()
    ).reindex(columns=rows.COLUMNS)


def resume(measurement: Measurement, unfinished: Path, config: dict) -> None:
    """Go on from what an interrupted process of the same measurement left, if it left anything."""
    try:
        saved = torch.load(unfinished, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise UserError(f"{unfinished} is damaged; delete it to measure from the start") from error
    if saved["config"] == config:
        measurement.restore(saved["state"])
        print(f"going on after {measurement.done} images")


@torch.inference_mode()
def logits(model: torch.nn.Module, image: torch.Tensor) -> int:
    """How many numbers the network puts out; as many as there are classes, if it was trained on these."""
    return model(image[None]).shape[-1]


def show_layers(cfg: DictConfig, hardware: Hardware) -> None:
    """Print the layers that would be measured; neither weights nor, for a library's network, data are needed."""
    images = models.blank_images(cfg.dataset, cfg.model) or data.load(cfg.dataset, "held_out")
    model = hardware.place(models.build(models.untrained(cfg.model), images)).eval()
    image = images.normalise(images.pixels[0]).to(hardware.device)
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


def choose(images: Images, count: int, seed: int, say: bool = True) -> torch.Tensor:
    """Indices of `count` images, a seeded choice; of all of them, said so, where there are fewer."""
    if not isinstance(count, int) or count < 2:
        raise UserError(f"measure.images={count}: needs a whole number from 2 on")
    if count > len(images) and say:
        print(f"measuring all {len(images)} held-out images: measure.images={count} are not there")
    return torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count]


def digest(model: torch.nn.Module) -> str:
    """Identifies the weights of a model."""
    content = hashlib.blake2b(digest_size=8)
    for name, value in model.state_dict().items():
        content.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def finished(folder: Path, config: dict) -> Path | None:
    """The rows of this measurement, if they are there.

    Raises:
        UserError: the folder holds another measurement.
    """
    results = folder / "results.csv"
    if not results.exists():
        return None
    made_with = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    if difference := first_difference(made_with, config):
        key, there, here = difference
        raise UserError(
            f"{folder} holds a measurement with {key}={there}, this one has {key}={here}; "
            "delete the folder, or give this one another measure.name"
        )
    return results


if __name__ == "__main__":
    main()
