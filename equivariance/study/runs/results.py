"""What a measurement leaves in its folder: rows, which images; its statistics while unfinished."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from equivariance import rows
from equivariance.errors import UserError
from equivariance.files import write_atomic
from equivariance.study.runs.folder import first_difference, read_config, read_state, save_state, write_config
from equivariance.study.runs.processes import Processes

ANOTHER = "give this one another measure.name"
SAVE_EVERY = 60  # seconds between two savings of what has been measured so far, or more where one takes long


def write(folder: Path, scores: pd.DataFrame, config: dict, chosen: Iterable[int], cost: dict) -> None:
    """Write configuration, cost and image indices first and results.csv last, as the mark of completion."""
    write_atomic(folder / "cost.csv", pd.DataFrame([cost]).to_csv(index=False, lineterminator="\n"))
    write_atomic(folder / "images.csv", "index\n" + "\n".join(map(str, chosen)) + "\n")
    write_config(folder, config)
    rows.write(folder / "results.csv", scores)
    for left in folder.glob(".statistics-*"):
        left.unlink()


def format_cost(cost: dict[str, Any]) -> str:
    """Time, memory and accuracies of a measurement, for the terminal."""
    text = (
        f"{cost['images_per_second']:.3g} images/s, {cost['waiting']:.1%} of the time waiting for them, "
        f"peak memory {cost['peak_mib'] / 1024:.2f} GiB"
    )
    if "top1" not in cost:
        return text
    known = f", published {cost['published']:.2f} %" if cost["published"] else ""
    whole = f", {cost['top1_all']:.2%} on all held-out images" if "top1_all" in cost else ""
    return f"{text}\ntop-1 {cost['top1']:.2%} on the measured images{whole}{known}"


def finished(folder: Path, config: dict) -> Path | None:
    """The rows of this measurement, if they are there."""
    results = folder / "results.csv"
    if not results.exists():
        return None
    if difference := first_difference(read_config(folder, ANOTHER), config):
        key, there, here = difference
        raise UserError(f"{folder} holds a measurement with {key}={there}, this one has {key}={here}; {ANOTHER}")
    return results


class Unfinished:
    """What a process has measured so far, in a file beside the results to come.

    Args:
        folder: of the measurement.
        config: of the measurement; what another one has kept is not taken.
    """

    def __init__(self, folder: Path, process: Processes, config: dict[str, Any]):
        self.path = folder / f".statistics-{process.rank + 1}-of-{process.count}.pt"
        self.config, self.next = config, time.monotonic() + SAVE_EVERY

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() > self.next

    def save(self, state: dict[str, Any]) -> None:
        """Keep the statistics of the images measured so far."""
        began = time.monotonic()
        save_state(self.path, {"config": self.config, "state": state})
        now = time.monotonic()
        self.next = now + max(SAVE_EVERY, 20 * (now - began))

    def load(self) -> dict[str, Any] | None:
        """What an interrupted process of the same measurement has kept; None if there is nothing."""
        if not self.path.exists():
            return None
        saved = read_state(self.path, ("config", "state"), "move it away to measure from the start")
        return saved["state"] if saved["config"] == self.config else None
