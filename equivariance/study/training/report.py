"""What a training run shows while it goes on: a bar with the loss, and a line for each epoch."""

from equivariance.progress import Lines, progress
from equivariance.study.training.trainer import Training


class Report:
    """The progress bar of a training run."""

    def __init__(self, training: Training, title: str, images: int):
        recipe, self.steps = training.recipe, training.steps(images)
        self.training, self.title = training, title
        self.shown = 50 if training.hardware.device.type == "cpu" else self.steps  # the loss waits for the device
        done = training.epoch * self.steps + training.step
        self.bar = progress(title, recipe.epochs * self.steps, done, recipe.batch_size)

    def close(self) -> None:
        """End the bar."""
        self.bar.close()

    def step(self) -> None:
        """Count a step; show the loss now and then."""
        training = self.training
        self.bar.update(training.recipe.batch_size)
        if training.step % self.shown == 0 or training.step == self.steps:
            loss, accuracy = training.totals.means()
            self.bar.set_postfix_str(f"epoch {training.epoch + 1}, loss {loss:.4f}, acc {accuracy:.2%}", False)

    def epoch(self, metrics: dict[str, float]) -> None:
        """A line for a completed epoch: each one in a log file, the last one on a terminal."""
        epoch, epochs = self.training.epoch, self.training.recipe.epochs
        if isinstance(self.bar, Lines) or epoch == epochs:
            self.bar.write(
                f"{self.title}: epoch {epoch}/{epochs}, loss {metrics['train_loss']:.4f}, "
                f"train {metrics['train_accuracy']:.2%}, held out {metrics['accuracy']:.2%}, "
                f"{(epochs - epoch) * metrics['seconds'] / 60:.1f} min left"
            )
