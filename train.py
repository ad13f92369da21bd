"""One training run: `python train.py model=cnn7 dataset=mnist6 seed=1`.

The same command again skips a complete run and resumes a partial one, to exactly the weights of an
uninterrupted run.
"""

import math
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from equivariance import data, models
from equivariance.cli import entrypoint, stoppable
from equivariance.errors import UserError
from equivariance.files import write_whole
from equivariance.hardware import Hardware
from equivariance.runs import Run, git_commit, training_config
from equivariance.tracking import tracked
from equivariance.training import Step, Totals, check_recipe, evaluate, learning_rate, optimiser


@entrypoint
def main(cfg: DictConfig) -> None:
    recipe, run = cfg.recipe, Run(Path(cfg.run_dir))
    hardware = Hardware(**cfg.hardware)
    torch.manual_seed(cfg.seed)
    train, held_out = (data.load(cfg.dataset, split).to(hardware.device) for split in data.SPLITS)
    check_recipe(recipe, len(train))
    model = hardware.place(models.build(cfg.model, train))
    step = Step(model, optimiser(recipe, model), hardware)
    config = training_config(cfg, train.digest(), hardware.precision)

    with run.only_process(), stoppable() as stop:
        # Where this run stands: nothing done, or what the checkpoint says.
        generator = torch.Generator().manual_seed(cfg.seed)
        epoch, start, order, history = 0, 0, None, []
        step.totals, spent = Totals.zero(hardware.device), 0.0
        if saved := run.load(config):
            epoch, start, order, history = (saved[key] for key in ("epoch", "start", "order", "history"))
            if epoch == recipe.epochs:
                print(f"{run.folder} is complete: {recipe.epochs} epochs, accuracy {history[-1]['accuracy']:.2%}")
                return
            model.load_state_dict(saved["model"])
            step.optimiser.load_state_dict(saved["optimiser"])
            generator.set_state(saved["generator"])
            torch.set_rng_state(saved["torch_rng"])
            step.totals = Totals(*saved["totals"][:2], saved["totals"][2])
            spent = saved["seconds"]
            print(f"{run.folder}: resuming in epoch {epoch + 1} of {recipe.epochs}")

        def save() -> None:
            run.save(
                {
                    "config": config,
                    "git_commit": git_commit(),
                    "torch_version": torch.__version__,
                    "hardware": str(hardware),
                    "epoch": epoch,
                    "start": start,
                    "order": order,
                    "history": history,
                    "model": model.state_dict(),
                    "optimiser": step.optimiser.state_dict(),
                    "generator": generator.get_state(),
                    "torch_rng": torch.get_rng_state(),
                    "totals": [step.totals.loss, step.totals.correct, step.totals.images],
                    "seconds": spent + time.perf_counter() - began,
                }
            )

        write_whole(run.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
        steps = len(train) // recipe.batch_size  # the incomplete last batch is left out, as it is redrawn each epoch
        title = f"{cfg.dataset.name} {cfg.model.name} {cfg.aug.name} seed {cfg.seed}"
        bar = tqdm(
            total=recipe.epochs * steps * recipe.batch_size,
            initial=(epoch * steps + start) * recipe.batch_size,
            desc=title,
            unit="img",
            unit_scale=True,
            mininterval=0.5,
            disable=not sys.stderr.isatty(),
        )
        with bar, tracked(cfg, "train", run.folder, git_commit=git_commit()) as tracker:
            began = time.perf_counter()
            while epoch < recipe.epochs:
                for group in step.optimiser.param_groups:
                    group["lr"] = learning_rate(recipe, epoch)
                if order is None:
                    order = torch.randperm(len(train), generator=generator)
                model.train()
                while start < steps:
                    batch = order[start * recipe.batch_size : (start + 1) * recipe.batch_size].to(hardware.device)
                    step(train.normalise(train.pixels[batch]), train.labels[batch])
                    start += 1
                    bar.update(recipe.batch_size)
                    if start % 50 == 0 and not bar.disable:
                        loss, accuracy = step.totals.means()
                        bar.set_postfix(epoch=epoch + 1, loss=f"{loss:.4f}", acc=f"{accuracy:.2%}", refresh=False)
                    if stop:
                        save()
                        print(f"\nstopped in epoch {epoch + 1}; the same command resumes {run.folder}")
                        raise SystemExit(stop.exit_code)

                train_loss, train_accuracy = step.totals.means()
                if not math.isfinite(train_loss):
                    raise UserError(
                        f"{run.folder}: the loss is {train_loss} in epoch {epoch + 1}; the checkpoint of epoch {epoch} "
                        f"is kept; try a lower recipe.lr than {recipe.lr}"
                    )
                held_out_loss, accuracy = evaluate(model, held_out, hardware)
                epoch, start, order, step.totals = epoch + 1, 0, None, Totals.zero(hardware.device)
                history.append(
                    {
                        "epoch": epoch,
                        "lr": learning_rate(recipe, epoch - 1),
                        "train_loss": train_loss,
                        "train_accuracy": train_accuracy,
                        "loss": held_out_loss,
                        "accuracy": accuracy,
                        "seconds": round(spent + time.perf_counter() - began, 1),
                    }
                )
                save()
                write_whole(run.folder / "metrics.csv", pd.DataFrame(history).to_csv(index=False))
                tracker.log(history[-1], step=epoch)
                if bar.disable or epoch == recipe.epochs:
                    left = (recipe.epochs - epoch) * history[-1]["seconds"] / epoch
                    tqdm.write(
                        f"{title}: epoch {epoch}/{recipe.epochs}, loss {train_loss:.4f}, train {train_accuracy:.2%}, "
                        f"held out {accuracy:.2%}, {left / 60:.1f} min left"
                    )
            tracker.summary(accuracy=accuracy)


if __name__ == "__main__":
    main()
