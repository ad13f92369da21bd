"""What a measurement leaves in its folder: rows, partners, which images; its statistics while unfinished."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from equivariance.analysis import plots
from equivariance.config import experiment
from equivariance.errors import UserError
from equivariance.runs import rows
from equivariance.runs.atomic import whole_file, write_whole
from equivariance.runs.folder import first_difference
from equivariance.runs.processes import Processes
from equivariance.scores import channel_matching as partners
from equivariance.scores.metric import Measurement


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


def write(
    folder: Path, scores: pd.DataFrame, config: dict[str, Any], chosen: Tensor, took: dict[str, float]
) -> None:
    """Write the rows, after what they were made with and took: they make the measurement complete."""
    write_whole(folder / "took.csv", pd.DataFrame([took]).to_csv(index=False, lineterminator="\n"))
    write_whole(folder / "images.csv", "index\n" + "\n".join(map(str, chosen.tolist())) + "\n")
    write_whole(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
    rows.write(folder / "results.csv", scores)
    for left in folder.glob(".statistics-*"):
        left.unlink()


def took_text(took: dict[str, float]) -> str:
    """What the measurement took, for the terminal: `cost.Cost.so_far`, and accuracies where there are any."""
    text = (
        f"{took['images_per_second']:.3g} images/s, {took['waiting']:.1%} of the time waiting for them, "
        f"peak memory {took['peak_mib'] / 1024:.2f} GiB"
    )
    if "top1" not in took:
        return text
    known = f", published {took['published']:.2f} %" if took["published"] else ""
    whole = f", {took['top1_all']:.2%} on all held-out images" if "top1_all" in took else ""
    return f"{text}\ntop-1 {took['top1']:.2%} on the measured images{whole}{known}"


def write_partners(measurement: Measurement, image: Tensor, folder: Path) -> None:
    """Partner channels, what they come to by layer, and a picture of the strongest orbits on one image."""
    found = measurement.partners()
    by_layer = partners.shares(found).merge(partners.composition(found), on=["index", "layer"], how="left")
    for name, content in (("partners", found), ("partner_shares", by_layer)):
        write_whole(folder / f"{name}.csv", content.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    print(by_layer.drop(columns="index").to_string(index=False, float_format="{:.2f}".format))
    orbits = [_orbit(measurement, one, image) for one in partners.strongest(found, 4)]
    if orbits:
        elements = [g.element for g in measurement.transforms]
        plots.save(plots.orbits(orbits, elements, measurement.transforms[0].name), folder / "orbits.png")


def _orbit(measurement: Measurement, orbit: pd.DataFrame, image: Tensor) -> plots.Orbit:
    """The maps of one channel and its partners on an image; `orbit` is from `partners.strongest`."""
    layer, channel = orbit.layer.iloc[0], orbit.channel.iloc[0]
    transforms = measurement.transforms
    maps = measurement.maps(torch.cat([image, *(g.act(image) for g in transforms)]))[layer]
    on_image = [g.act(maps[:1]) if maps[0, 0].numel() > 1 else maps[:1] for g in transforms]

    def pictures(each: list[Tensor]) -> np.ndarray:
        return torch.stack([one.reshape(one.shape if one.dim() > 1 else (1, 1)) for one in each]).cpu().numpy()

    return plots.Orbit(
        layer,
        int(channel),
        pictures([maps[place + 1, channel] for place in range(len(transforms))]),
        pictures([moved[0, partner] for moved, partner in zip(on_image, orbit.partner, strict=True)]),
        [int(partner) for partner in orbit.partner],
        list(orbit.r),
    )


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


def unfinished(folder: Path, process: Processes) -> Path:
    """Where a process keeps what it has measured so far."""
    return folder / f".statistics-{process.rank + 1}-of-{process.count}.pt"


def save(measurement: Measurement, path: Path, config: dict[str, Any]) -> None:
    """Keep what has been measured so far."""
    with whole_file(path) as file:  # not by way of memory: wide networks have gigabytes of statistics
        torch.save({"config": config, "state": measurement.state()}, file)


def resume(measurement: Measurement, path: Path, config: dict[str, Any]) -> None:
    """Go on from what an interrupted process of the same measurement left, if it left anything."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is damaged; delete it to measure from the start") from error
    if saved["config"] == config:
        measurement.restore(saved["state"])
        print(f"going on after {measurement.done} images")
