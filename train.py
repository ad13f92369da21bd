"""One training run: `python train.py model=cnn7 dataset=mnist6 seed=1`.

The same command again skips a complete run and resumes a partial one, to exactly the same weights.
"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from equivariance.errors import UserError
from equivariance.study.cli import entrypoint, stoppable
from equivariance.study.config import recipe_of

if TYPE_CHECKING:
    from torch import Tensor

    from equivariance.study.training.trainer import Training


def step(training: Training, images: Tensor, labels: Tensor) -> None:
    """Forward, loss, backward, update; one CUDA graph where `hardware.graph`, see `Training.take`."""
    with training.hardware.autocast():
        output = training.model(images.contiguous(memory_format=training.hardware.layout))
    logits = training.logits(output)
    loss = training.criterion(logits, labels)
    loss.backward()
    training.optimiser.step()
    training.optimiser.zero_grad(set_to_none=True)
    training.totals.add(loss, logits, labels)


@entrypoint
def main(cfg: DictConfig) -> None:
    import torch  # these take seconds, and --help or a misspelt key does not need them

    from equivariance.study import models
    from equivariance.study.data import augmentation, datasets
    from equivariance.study.identity import tracking, training_config
    from equivariance.study.models.computation import computation_digest
    from equivariance.study.runs.folder import Run, provenance
    from equivariance.study.runs.tracking import tracked
    from equivariance.study.training.hardware import Hardware
    from equivariance.study.training.recipe import check_recipe
    from equivariance.study.training.report import Report
    from equivariance.study.training.trainer import Training, evaluate

    if cfg.model.get("weights"):
        raise UserError(f"model.weights={cfg.model.weights} is already trained: give it to measure.py")
    recipe, run, hardware = recipe_of(cfg), Run(Path(cfg.run_dir)), Hardware(**cfg.hardware)
    cfg.dataset = models.prepare(cfg.dataset, cfg.model, say=print)
    train, held_out = (images.to(hardware.device) for images in datasets.load_splits(cfg.dataset))
    check_recipe(recipe, len(train))
    torch.manual_seed(cfg.seed)
    shape = train.pixels.shape[1:]
    model = models.build(cfg.model, shape, train.num_classes)
    computation = computation_digest(model, shape)  # on the CPU: devices differ in it
    model = hardware.place(model)
    training = Training(model, recipe, hardware, cfg.seed, augmentation.build(cfg.aug))
    config = training_config(cfg, precision=hardware.precision, data=train.digest(), computation=computation)
    title = f"{cfg.dataset.name} {cfg.model.name} {cfg.aug.name} seed {cfg.seed}"

    with run.only_process(), stoppable() as stop, hardware.explain_failures("recipe.batch_size", recipe.batch_size):
        if saved := run.load(config):
            run.resume(training, saved)
        if training.epoch == recipe.epochs:
            print(f"{run.folder} is complete: {recipe.epochs} epochs, accuracy {training.accuracy:.2%}")
            return
        if saved:
            print(f"{run.folder}: resuming in epoch {training.epoch + 1} of {recipe.epochs}")
        here = provenance(hardware.name)
        record = {"config": config, "classes": list(train.classes)}
        record["stretches"] = run.stretches(saved, here, hardware.strict)
        with (
            tracked(
                job_type="train",
                folder=run.folder,
                provenance=here,
                wandb_id=saved.get("wandb_id") if saved else None,
                **tracking(cfg),
            ) as tracker,
            closing(Report(training, title, len(train))) as report,
        ):
            record["wandb_id"] = tracker.id
            run.keep(training)
            while training.epoch < recipe.epochs:
                began = time.perf_counter()
                for images, labels in training.batches(train):
                    training.take(step, images, labels)
                    report.step()
                    if stop:
                        training.check_loss(train.num_classes)
                        run.save(training.state() | record)
                        print(f"\nstopped in epoch {training.epoch + 1}; the same command resumes {run.folder}")
                        raise SystemExit(stop.exit_code)
                training.check_loss(train.num_classes)
                loss, accuracy = evaluate(model, held_out, hardware)
                metrics = training.end_epoch(loss, accuracy, time.perf_counter() - began)
                run.keep(training)
                run.save(training.state() | record)
                tracker.log(metrics, training.epoch)
                report.epoch(metrics)
            tracker.summary(accuracy=accuracy)


if __name__ == "__main__":
    main()
