"""One training run: `python train.py model=cnn7 dataset=mnist6 seed=1`.

The same command again skips a complete run and resumes a partial one, to exactly the weights of an
uninterrupted run.
"""

import time
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from equivariance import models
from equivariance.cli import entrypoint, stoppable
from equivariance.data import augmentation
from equivariance.data import datasets as data
from equivariance.errors import UserError
from equivariance.progress import Lines, progress
from equivariance.runs.atomic import write_whole
from equivariance.runs.folder import Run, git_commit, training_config
from equivariance.runs.tracking import tracked
from equivariance.training.hardware import Hardware
from equivariance.training.trainer import Training, check_recipe, evaluate


@entrypoint
def main(cfg: DictConfig) -> None:
    recipe, run = cfg.recipe, Run(Path(cfg.run_dir))
    if cfg.model.get("weights"):
        raise UserError(
            f"model.weights={cfg.model.weights} is already trained: measure.py takes it, train.py does not"
        )
    hardware = Hardware(**cfg.hardware)
    augment = augmentation.build(cfg.aug)
    cfg.dataset = models.prepare(cfg.dataset, cfg.model, say=print)
    train, held_out = (images.to(hardware.device) for images in data.load_splits(cfg.dataset))
    check_recipe(recipe, len(train))
    torch.manual_seed(cfg.seed)
    model = hardware.place(models.build(cfg.model, train.pixels.shape[1:], train.num_classes))
    training = Training(model, recipe, hardware, cfg.seed, augment)
    config = training_config(cfg, train.digest(), hardware.precision)
    provenance = {"git_commit": git_commit(), "torch_version": str(torch.__version__), "hardware": hardware.name}

    with run.only_process(), stoppable() as stop:
        if saved := run.load(config):
            training.restore(saved)
            if training.epoch == recipe.epochs:
                accuracy = training.history[-1]["accuracy"]
                print(f"{run.folder} is complete: {recipe.epochs} epochs, accuracy {accuracy:.2%}")
                return
            print(f"{run.folder}: resuming in epoch {training.epoch + 1} of {recipe.epochs}")
        write_whole(run.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))

        title = f"{cfg.dataset.name} {cfg.model.name} {cfg.aug.name} seed {cfg.seed}"
        steps = training.steps(len(train))
        bar = progress(title, recipe.epochs * steps, training.epoch * steps + training.start, recipe.batch_size)
        wandb_id = saved["wandb_id"] if saved else None
        shown = 50 if hardware.device.type == "cpu" else steps  # to show the loss waits for the device
        refusals = hardware.refusals("recipe.batch_size", recipe.batch_size)
        with bar, refusals, tracked(cfg, "train", run.folder, wandb_id, provenance) as tracker:

            def save() -> None:
                run.save(training.state() | provenance | {"config": config, "wandb_id": tracker.id})

            def keep() -> None:
                if training.epoch in recipe.keep:
                    run.save_weights(model, training.epoch, training.history)

            if not saved:
                keep()
            while training.epoch < recipe.epochs:
                began = time.perf_counter()
                training.begin_epoch()
                for images, labels in training.batches(train):
                    training.step(images, labels)
                    bar.update(len(labels))
                    if training.start % shown == 0 or training.start == steps:
                        loss, accuracy = training.totals.means()
                        bar.set_postfix_str(
                            f"epoch {training.epoch + 1}, loss {loss:.4f}, acc {accuracy:.2%}", False
                        )
                    if stop:
                        training.check_loss(train.num_classes)
                        save()
                        print(f"\nstopped in epoch {training.epoch + 1}; the same command resumes {run.folder}")
                        raise SystemExit(stop.exit_code)

                training.check_loss(train.num_classes)
                train_loss, train_accuracy = training.totals.means()
                loss, accuracy = evaluate(model, held_out, hardware)
                metrics = {
                    "epoch": training.epoch + 1,
                    "lr": training.rate,
                    "train_loss": train_loss,
                    "train_accuracy": train_accuracy,
                    "loss": loss,
                    "accuracy": accuracy,
                    "seconds": round(time.perf_counter() - began, 2),
                }
                training.end_epoch(metrics)
                write_whole(run.folder / "metrics.csv", pd.DataFrame(training.history).to_csv(index=False))
                keep()
                save()
                tracker.log(metrics, step=training.epoch)
                if isinstance(bar, Lines) or training.epoch == recipe.epochs:
                    left = (recipe.epochs - training.epoch) * metrics["seconds"] / 60
                    bar.write(
                        f"{title}: epoch {training.epoch}/{recipe.epochs}, loss {train_loss:.4f}, "
                        f"train {train_accuracy:.2%}, held out {accuracy:.2%}, {left:.1f} min left"
                    )
            tracker.summary(accuracy=accuracy)


if __name__ == "__main__":
    main()
