"""Weights & Biases: one run per job. The local files are the source of truth; a failure here costs nothing else."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from equivariance.rows import by_layer, of_first_over


class Tracker:
    """Sends the results of a job to W&B; if W&B fails, prints that once on stderr and does nothing from then on."""

    run: Any = None

    @property
    def id(self) -> str | None:
        """The id of the W&B run, with which a resumed job continues it."""
        return self.run.id if self.run else None

    def log(self, values: dict[str, float], step: int) -> None:
        self.send(lambda run: run.log(values, step=step))

    def summary(self, **values: Any) -> None:
        self.send(lambda run: run.summary.update(values))

    def measured(self, rows: pd.DataFrame, figure: Path, **summary: Any) -> None:
        """Rows of a measurement: as a table, as curves by depth, and as a summary by part; and the figure.

        A step `layer` for each layer holds "invariance", "invariance chance", "equivariance" and "equivariance
        chance"; the summary holds "invariance/early" and so on, and the accuracy of the network.
        """

        def log(run: Any) -> None:
            import wandb

            run.log({"scores": wandb.Table(dataframe=rows), "depth": wandb.Image(str(figure))})
            for name in ("invariance*", "equivariance*"):
                run.define_metric(name, step_metric="layer")
            layers = by_layer(of_first_over(rows)).set_index("score")
            for index, one in layers.groupby("index"):
                run.log({"layer": index, **one.value, **one.chance.add_suffix(" chance")})
            parts = layers.groupby(["score", "part"]).value.mean()
            accuracy = {"accuracy": float(rows.accuracy.iloc[0])} if rows.accuracy.notna().all() else {}
            run.summary.update({"/".join(place): value for place, value in parts.items()} | accuracy | summary)

        self.send(log)

    def send(self, call: Callable[[Any], None]) -> None:
        """Make a call of the W&B run, if there is one."""
        if self.run is None:
            return
        try:
            call(self.run)
        except Exception as error:  # whatever it is, the local files are complete
            self.run = None
            print(f"W&B failed and is off from here on ({error}); local files are not affected", file=sys.stderr)


@contextmanager
def tracked(
    settings: dict[str, Any],
    job_type: str,
    folder: Path,
    config: dict[str, Any],
    provenance: dict[str, Any],
    wandb_id: str | None = None,
) -> Iterator[Tracker]:
    """A W&B run around a job: group the experiment, job type train or measure, resolved configuration.

    Args:
        settings: mode, project, entity, group, and the folder (`dir`) of W&B's own files.
        wandb_id: of the W&B run that a resumed job goes on with.
    """
    mode, top, tracker = mode_of(settings["mode"]), Path(settings["dir"]), Tracker()
    if mode != "disabled":
        try:
            import wandb

            tracker.run = wandb.init(
                **settings | {"mode": mode},
                job_type=job_type,
                name=f"{job_type} {folder.relative_to(top) if folder.is_relative_to(top) else folder.name}",
                id=wandb_id,
                resume="allow",
                config=config | {"provenance": provenance},
            )
            if mode == "offline":
                print(f"W&B is offline; to upload this run: wandb sync {Path(tracker.run.dir).parent}")
        except Exception as error:  # no network, no disk, no wandb: the job goes on without
            print(f"W&B did not start ({error}); local files are not affected", file=sys.stderr)
    exit_code = 1
    try:
        yield tracker
        exit_code = 0
    except SystemExit as error:
        exit_code = error.code if isinstance(error.code, int) else 1
        raise
    finally:
        tracker.send(lambda run: run.finish(exit_code=exit_code))


def mode_of(mode: str) -> str:
    """online, offline or disabled; auto: as W&B's own variables say, else online where somebody is logged in."""
    os.environ.setdefault("WANDB_SILENT", "true")
    if mode != "auto":
        return mode
    if os.environ.get("WANDB_DISABLED", "").lower() not in ("", "false", "0", "no"):
        return "disabled"
    given = os.environ.get("WANDB_MODE", "").replace("dryrun", "offline")
    if given in ("online", "offline", "disabled"):
        return given
    try:
        import wandb
        from requests.utils import get_netrc_auth

        key = wandb.setup().settings.api_key or get_netrc_auth("https://api.wandb.ai")
        return "online" if key else "offline"
    except Exception:  # whatever keeps W&B from starting, `tracked` says it
        return "offline"
