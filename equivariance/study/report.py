"""What a measurement leaves and says: rows, figures, cost, the summary, and what Weights & Biases is told."""

from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from equivariance import rows
from equivariance.figures.depth import plot_depth
from equivariance.figures.summary import summary
from equivariance.study import partners
from equivariance.study.data.image_files import Stream
from equivariance.study.figures import save
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
    parameters = sum(parameter.numel() for parameter in job.model.parameters())
    cost |= {"images": metric.images, "ended": ended, "parameters": parameters} | _accuracies(job)
    training = dict(job.training)
    if job.published and "top1" in cost:
        training["accuracy"] = cost.get("top1_all", cost["top1"])
    here = provenance(job.hardware.name)
    scores = metric.compute(job.precision.level(metric)).assign(**about | training | here, ended=ended)
    scores = scores.reindex(columns=rows.COLUMNS)
    first = rows.of_first_over(scores)  # the others are in the rows
    with tracked(job_type="measure", folder=folder, provenance=here, **job.tracking) as tracker:
        epochs = "given weights" if job.published else f"{training['epoch']} epochs"
        trained = epochs if about["trained"] else "untrained"
        transform = metric.transforms[0].name
        name = f"{about['model']}, {about['dataset']}, seed {about['seed']}, {trained}: {transform}"
        figure: Any = plot_depth(_beside_twin(job, first), title=name).figure
        save(figure, folder / "depth.png")
        partners.keep(metric.partners(), folder)
        _report_partners(job)
        results.write(folder, scores, job.config, job.chosen[: metric.images].tolist(), cost)
        tracker.measured(scores, folder / "depth.png", images=metric.images, ended=ended)
    print(f"{name}\n{summary(scores)}\n{results.format_cost(cost)}")
    print(f"rows and figure: {folder}")


def report_again(job: Measurement) -> None:
    """The summary of a measurement that is complete, and its partners where they are asked for now."""
    print(f"{job.folder} is complete:\n{summary(rows.read(job.folder / 'results.csv'))}")
    _report_partners(job)


def _report_partners(job: Measurement) -> None:
    partners.report(job.metric, job.example, job.measure["partners"], job.folder, job.about["model"])


def _beside_twin(job: Measurement, scores: pd.DataFrame) -> pd.DataFrame:
    """The rows, and those of the same network untrained where it was measured before."""
    twin = job.folder.with_name(f"{job.folder.name}-untrained") / "results.csv"
    return pd.concat([scores, rows.read(twin)]) if job.about["trained"] and twin.exists() else scores


def _accuracies(job: Measurement) -> dict[str, float | None]:
    """Top-1 on the measured images, on all held-out ones for given weights, and as published."""
    if not job.classifies:
        return {}
    metric, images, device = job.metric, job.images, job.hardware.device
    found: dict = {"top1": metric.accuracy, "published": (job.network.get("published") or {}).get("top1")}
    whole = job.measure["whole_accuracy"]
    if job.published and (isinstance(images.pixels, Tensor) if whole is None else whole):
        everything: Any = Stream(images.pixels, torch.arange(len(images)), 0, metric.batch_size, device)
        held_out = replace(images, pixels=everything)
        _, found["top1_all"] = evaluate(job.model, held_out, job.hardware, metric.batch_size)
        job.check_accuracy(found["top1_all"], len(images))
    return found
