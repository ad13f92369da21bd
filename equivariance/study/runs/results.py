"""What a measurement leaves in its folder: rows, partners, which images; its statistics while unfinished."""

import io
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import OmegaConf

from equivariance import rows
from equivariance.errors import UserError
from equivariance.files import atomic_file, write_atomic
from equivariance.study.runs.folder import comparable, first_difference, read_state
from equivariance.study.runs.processes import Processes

SAVE_EVERY = 60  # seconds between two savings of what has been measured so far, or more where one takes long
ANOTHER = "give this one another measure.name"
PLACE = ["layer", "index", "transform", "element"]  # of a row of partner channels


def write(
    folder: Path, scores: pd.DataFrame, config: dict[str, Any], chosen: Iterable[int], cost: dict[str, Any]
) -> None:
    """Write configuration, cost and image indices first and results.csv last, as the mark of completion."""
    write_atomic(folder / "cost.csv", pd.DataFrame([cost]).to_csv(index=False, lineterminator="\n"))
    write_atomic(folder / "images.csv", "index\n" + "\n".join(map(str, chosen)) + "\n")
    write_atomic(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
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
    try:
        made_with: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        made_with.get("measure", {}).pop("partners", None)  # older ones name it; no row depends on it
        difference = first_difference(comparable(made_with), comparable(config))
    except Exception as error:  # garbage makes the reader raise anything
        raise UserError(f"{folder}/config.yaml is damaged; {ANOTHER}") from error
    if difference:
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
        with atomic_file(self.path) as file:  # not by way of memory: wide networks have gigabytes of statistics
            torch.save({"config": self.config, "state": state}, file)
        now = time.monotonic()
        self.next = now + max(SAVE_EVERY, 20 * (now - began))

    def load(self) -> dict[str, Any] | None:
        """What an interrupted process of the same measurement has kept; None if there is nothing."""
        if not self.path.exists():
            return None
        saved = read_state(self.path, ("config", "state"), "move it away to measure from the start")
        return saved["state"] if saved["config"] == self.config else None


def keep_partners(found: pd.DataFrame, folder: Path) -> None:
    """Keep which channel matched which one in partners.npz, small enough to be kept of every measurement."""
    places = found[PLACE].drop_duplicates()
    codes = found.groupby(PLACE, sort=False).ngroup()
    columns: dict[str, Any] = {name: found[name].to_numpy(np.int32) for name in ("channel", "partner")}
    columns |= {name: found[name].to_numpy(np.float32) for name in ("r", "own")}
    buffer = io.BytesIO()
    text = places.to_json(orient="values")
    np.savez_compressed(buffer, places=np.array(text), code=codes.to_numpy(np.int32), **columns)
    write_atomic(folder / "partners.npz", buffer.getvalue())


def kept_partners(folder: Path) -> pd.DataFrame:
    """What `keep_partners` has kept of a measurement."""
    file = folder / "partners.npz"
    try:
        with np.load(file, allow_pickle=False) as kept:
            places = pd.DataFrame(json.loads(str(kept["places"])), columns=PLACE, dtype=object)
            of_channels = pd.DataFrame({name: kept[name] for name in ("channel", "partner", "r", "own")})
            rows_of = places.iloc[kept["code"]].reset_index(drop=True)
    except Exception as error:  # garbage makes the reader raise anything
        what = "is damaged" if file.exists() else "is not there: an older measurement did not keep it"
        raise UserError(f"{file} {what}; {ANOTHER}") from error
    return pd.concat([rows_of.astype({"index": int}), of_channels], axis=1)


def write_partners(found: pd.DataFrame, by_layer: pd.DataFrame, folder: Path) -> None:
    """Write which channel matched which one, and what that comes to by layer."""
    for name, content in (("partners", found), ("partner_shares", by_layer)):
        write_atomic(folder / f"{name}.csv", content.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
