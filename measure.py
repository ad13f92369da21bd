"""One measurement of one network: `python measure.py model=cnn7 dataset=mnist6 measure=rotation`.

Measures the network that `train.py` trained with the same configuration, or the same network untrained
(`measure.trained=false`), and writes rows, a figure and the indices of the images below the run's folder.
"""

import hashlib
from pathlib import Path

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from equivariance import data, models, plots, rows
from equivariance.cli import entrypoint, experiment, progress, stoppable
from equivariance.data import Images
from equivariance.errors import UserError
from equivariance.features import survey, table
from equivariance.files import write_whole
from equivariance.hardware import Hardware
from equivariance.measure import Measurement, batches
from equivariance.runs import Run, first_difference, git_commit, load_weights, measurement_folder
from equivariance.tracking import tracked


@entrypoint
def main(cfg: DictConfig) -> None:
    if cfg.measure.similarity != "pearson":
        raise UserError(f"measure.similarity={cfg.measure.similarity}: choose pearson")
    hardware = Hardware(**cfg.hardware)
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
    chosen = choose(images, cfg.measure.images, cfg.measure.image_seed)

    torch.manual_seed(cfg.seed)
    network = cfg.model if cfg.measure.trained else models.untrained(cfg.model)
    model = hardware.place(models.build(network, images)).eval()
    made = {"epochs": None if cfg.measure.trained else 0}
    if cfg.measure.trained and not models.brings_weights(network):
        made = load_weights(model, cfg, run)
    config = {
        "model": OmegaConf.to_container(network, resolve=True),
        "measure": OmegaConf.to_container(cfg.measure, resolve=True),
        "images": images.digest(),
        "weights": digest(model),
    }
    provenance = {"git_commit": git_commit(), "torch_version": str(torch.__version__), "hardware": hardware.name}
    for key in ("batch_size", "dry_run"):  # no influence on the result
        del config["measure"][key]
    if cfg.measure.layers is None:  # measurements made before there was a choice stay valid
        del config["measure"]["layers"]

    with Run(folder).only_process(), stoppable() as stop:
        if previous := finished(folder, config):
            print(f"{folder} is complete:\n{rows.summary(rows.read(previous))}")
            return
        with tracked(cfg, "measure", folder, None, provenance) as tracker:
            image = images.normalise(images.pixels[0]).to(hardware.device)
            layers, left_out = survey(model, image, patterns(cfg.measure.layers))
            if left_out:
                print(f"{len(layers)} layers; left out: {', '.join(left_out)} (measure.dry_run=true says why)")
            measurement = Measurement(model, layers, transforms)
            bar = progress(f"{cfg.dataset.name} {cfg.model.name} {cfg.measure.name}", len(chosen))
            for part in batches(len(chosen), cfg.measure.batch_size):
                batch = images.normalise(images.pixels[chosen[part]]).to(hardware.device)
                measurement.add(batch)
                bar.update(len(batch))
                if stop:
                    bar.close()
                    print(f"\nstopped; nothing was written to {folder}; the same command measures again")
                    raise SystemExit(stop.exit_code)

            bar.close()
            result = pd.DataFrame(
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
                    "images": len(chosen),
                    "channels": score.layer.channels,
                    "dead_channels": score.dead_channels,
                    "epochs": made["epochs"],
                    "accuracy": made.get("accuracy"),
                    "precision": made.get("precision"),
                    **provenance,
                }
                for score in measurement.scores()
            )
            figure = folder / "depth.png"
            trained = "untrained" if not cfg.measure.trained else f"{made['epochs']} epochs"
            trained = "own weights" if made["epochs"] is None else trained
            title = f"{cfg.model.name}, {cfg.dataset.name}, seed {cfg.seed}, {trained}: {transforms[0].name}"
            plots.save(plots.depth(result, title), figure)
            write_whole(folder / "images.csv", "index\n" + "\n".join(map(str, chosen.tolist())) + "\n")
            write_whole(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
            rows.write(folder / "results.csv", result)  # last: it makes the measurement complete
            tracker.table("scores", result)
            tracker.image("depth", figure)
        print(f"{title}, {len(chosen)} images\n{rows.summary(result)}\nrows and figure: {folder}")


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


def choose(images: Images, count: int, seed: int) -> torch.Tensor:
    """Indices of `count` images, a seeded choice; of all of them, said so, where there are fewer."""
    if not isinstance(count, int) or count < 2:
        raise UserError(f"measure.images={count}: needs a whole number from 2 on")
    if count > len(images):
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
