"""One training run: `python train.py model=cnn7 dataset=mnist6 seed=1`.

The same command again skips a complete run and resumes a partial one, to exactly the same weights.
"""

from __future__ import annotations

import time
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
        logits = training.model(images.contiguous(memory_format=training.hardware.layout))
    loss = training.criterion(logits.float(), labels)
    loss.backward()
    training.optimiser.step()
    training.optimiser.zero_grad(set_to_none=True)
    training.totals.add(loss, logits, labels)


@entrypoint
def main(cfg: DictConfig) -> None:
    import torch  # these take seconds, and --help or a misspelt key does not need them

    from equivariance.study import models
    from equivariance.study.data import augmentation, datasets
    from equivariance.study.runs.folder import Run, provenance, training_config
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
    model = hardware.place(models.build(cfg.model, train.pixels.shape[1:], train.num_classes))
    training = Training(model, recipe, hardware, cfg.seed, augmentation.build(cfg.aug))
    config = training_config(cfg, train.digest(), hardware.precision)
    title = f"{cfg.dataset.name} {cfg.model.name} {cfg.aug.name} seed {cfg.seed}"

    with run.only_process(), stoppable() as stop, hardware.explain_failures("recipe.batch_size", recipe.batch_size):
        if saved := run.load(config):
            training.restore(saved)
        if training.epoch == recipe.epochs:
            print(f"{run.folder} is complete: {recipe.epochs} epochs, accuracy {training.accuracy:.2%}")
            return
        if saved:
            print(f"{run.folder}: resuming in epoch {training.epoch + 1} of {recipe.epochs}")
        here = provenance(hardware.name)
        record = {"config": config, "stretches": run.stretches(saved, here, hardware.strict)}
        run.write_config(config)
        with (
            tracked(cfg, "train", run.folder, saved and saved["wandb_id"], here) as tracker,
            Report(training, title, len(train)) as report,
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
                run.write_metrics(training.history)
                run.keep(training)
                run.save(training.state() | record)
                tracker.log(metrics, training.epoch)
                report.epoch(metrics)
            tracker.summary(accuracy=accuracy)


if __name__ == "__main__":
    main()
