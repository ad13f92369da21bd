"""What a measurement leaves and says: rows, figures, cost, the summary, and what Weights & Biases is told."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from equivariance import rows
from equivariance.figures import depth, style
from equivariance.figures import partners as drawn
from equivariance.figures.summary import summary
from equivariance.metric import partners
from equivariance.study.data.image_files import Stream
from equivariance.study.measuring import Measurement
from equivariance.study.runs import results
from equivariance.study.runs.folder import provenance
from equivariance.study.runs.tracking import tracked
from equivariance.study.training.trainer import evaluate


def announce(job: Measurement) -> None:
    """Say which layers are left out, and whether the memory allows fewer blocks than were asked for."""
    metric = job.metric
    if metric.left_out:
        names = ", ".join(metric.left_out)
        print(f"{len(metric.layers)} layers; left out: {names} (measure.dry_run=true says why)")
    if metric.too_wide:
        print(f"no linear score where there are too many channels: {', '.join(metric.too_wide)}")
    if metric.blocks_at_most < job.measure["blocks"]:
        print(f"at most {metric.blocks_at_most} blocks of images: the sums of more need too much memory")


def report(job: Measurement, cost: dict[str, Any]) -> None:
    """Write rows, figures and cost, print the summary, and track everything."""
    metric, folder, about = job.metric, job.folder, job.about
    ended = job.precision.ended(metric)
    cost |= {
        "images": metric.images,
        "ended": ended,
        "parameters": sum(p.numel() for p in job.model.parameters()),
    } | _accuracies(job)
    training = dict(job.training)
    if job.published and "top1" in cost:
        training["accuracy"] = cost.get("top1_all", cost["top1"])
    here = provenance(job.hardware.name)
    scores = (
        metric.compute(job.precision.level(metric))
        .assign(**about | training | here, ended=ended)
        .reindex(columns=rows.COLUMNS)
    )
    first = rows.of_first_over(scores)  # the others are in the rows
    with tracked(job_type="measure", folder=folder, provenance=here, **job.tracking) as tracker:
        epochs = "given weights" if job.published else f"{training['epoch']} epochs"
        trained = epochs if about["trained"] else "untrained"
        transform = metric.transforms[0].name
        name = f"{about['model']}, {about['dataset']}, seed {about['seed']}, {trained}: {transform}"
        style.save(depth.depth(_beside_twin(job, first), name), folder / "depth.png")
        results.keep_partners(metric.partners(), folder)
        report_partners(job)
        results.write(folder, scores, job.config, job.chosen[: metric.images].tolist(), cost)
        tracker.scores(scores)
        tracker.summary(images=metric.images, ended=ended)
        tracker.image("depth", folder / "depth.png")
    print(f"{name}\n{summary(scores)}\n{results.format_cost(cost)}")
    print(f"rows and figure: {folder}")


def report_again(job: Measurement) -> None:
    """The summary of a measurement that is complete, and its partners where they are asked for now."""
    print(f"{job.folder} is complete:\n{summary(rows.read(job.folder / 'results.csv'))}")
    report_partners(job)


def report_partners(job: Measurement) -> None:
    """Where `measure.partners` asks for it: partner channels, what they come to by layer, pictures.

    The metric gives the maps of one image, and need not have measured any; the partners are the kept ones.
    """
    asked, metric, folder = job.measure["partners"], job.metric, job.folder
    choice = {key: value for key, value in asked.items() if value is not None} if isinstance(asked, dict) else {}
    if not choice and asked is not True:
        return
    found = results.kept_partners(folder)
    orbits = partners.orbits(metric, job.example, found, **choice)
    by_layer = partners.shares(found).merge(
        partners.composition(found), on=["index", "layer", "transform"], how="left"
    )
    results.write_partners(found, by_layer, folder)
    print(by_layer.drop(columns="index").to_string(index=False, float_format="{:.2f}".format))
    name = metric.transforms[0].name
    style.save(drawn.channels(found, f"{job.about['model']}: {name}"), folder / "channels")
    if orbits:
        elements = ["x", *(f"{g.element}" for g in metric.transforms)]
        image = metric.prepare(job.example)
        copies = torch.cat([image, *(g.act(image) for g in metric.transforms)])
        style.save(drawn.orbits(orbits, elements, name, _shown(copies)), folder / "orbits")
    names = ", ".join(file for file in ("partners.csv", "channels.png", "orbits.png") if (folder / file).exists())
    print(f"partner channels: {names} in {folder}")


def _beside_twin(job: Measurement, scores: pd.DataFrame) -> pd.DataFrame:
    """The rows, and those of the same network untrained where it was measured before."""
    twin = job.folder.with_name(f"{job.folder.name}-untrained") / "results.csv"
    return pd.concat([scores, rows.read(twin)]) if job.about["trained"] and twin.exists() else scores


def _accuracies(job: Measurement) -> dict[str, float | None]:
    """Top-1 on the measured images, on all held-out ones for given weights, and as published."""
    if not job.classifies:
        return {}
    metric, images, device = job.metric, job.images, job.hardware.device
    found = {"top1": metric.accuracy, "published": (job.network.get("published") or {}).get("top1")}
    whole = job.measure["whole_accuracy"]
    if job.published and (isinstance(images.pixels, Tensor) if whole is None else whole):
        everything: Any = Stream(images.pixels, torch.arange(len(images)), 0, metric.batch_size, device)
        held_out = replace(images, pixels=everything)
        _, found["top1_all"] = evaluate(job.model, held_out, job.hardware, metric.batch_size)
    return found


def _shown(images: Tensor) -> np.ndarray:
    """Normalised images (n, c, h, w) as (n, h, w), or (n, h, w, 3) where they are coloured, in [0, 1]."""
    pixels = (images if images.shape[1] == 3 else images[:, :1]).float().cpu().nan_to_num(0)
    low, high = pixels.amin((0, 2, 3), keepdim=True), pixels.amax((0, 2, 3), keepdim=True)
    scaled = (pixels - low) / (high - low).clamp(min=1e-12)
    return scaled.movedim(1, -1).squeeze(-1).numpy()
