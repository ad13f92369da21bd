"""One measurement of one network: `python measure.py run=FOLDER measure=rotation`.

Measures the network that `train.py` left in a folder, one described by the same configuration, published weights
(`model.weights=FILE`), or the same network untrained (`measure.trained=false`), and writes rows, a figure, the
indices of the images and the cost below the run's folder. An interrupted measurement goes on where it stopped.
`torchrun --nproc_per_node=K measure.py ...` splits the images over K processes, to the same result.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from equivariance.study.cli import entrypoint, note_measured, recorded, stoppable
from equivariance.study.identity import measurement_folder

if TYPE_CHECKING:
    from equivariance.study.runs.processes import Processes


@entrypoint
def main(cfg: DictConfig) -> None:
    from equivariance.study.runs.processes import processes  # this takes seconds, which --help does not need

    with processes() as process, recorded(measurement_folder(cfg)) if "zoo" in cfg else nullcontext():
        measure(cfg, process)


def measure(cfg: DictConfig, process: Processes) -> None:
    """Measure this process's share of the images; the first process merges all shares and reports."""
    from equivariance.progress import progress
    from equivariance.study.measuring import Measurement, layer_table
    from equivariance.study.report import announce, report, report_again
    from equivariance.study.runs.cost import Cost

    if cfg.measure.dry_run:
        print(layer_table(cfg, print if process.first else None))
        return
    job = Measurement(cfg, process)
    metric = job.metric
    with job.alone(), stoppable() as stop:
        if job.complete:
            if process.first:
                report_again(job)
                note_measured(job.folder)
            return
        unfinished = job.resume()
        if process.first:
            announce(job)
        start, end = job.share
        done, cost = metric.images, Cost(job.hardware.device)
        with progress(job.title, end - start, done) as bar:
            for images, labels in job.batches():
                metric.update(images, labels)
                bar.update(len(images))
                if metric.images == done + len(images):  # after the first ones: what is wrong is said early
                    job.check()
                stopping = bool(stop)
                if stopping or unfinished.due:
                    unfinished.save(metric.state_dict())
                if stopping:
                    print(f"\nstopped after {metric.images} images; the same command goes on from there")
                    raise SystemExit(stop.exit_code)
        job.check()
        measured = metric.images - done
        if process.count > 1:  # whoever waits for the others may be stopped
            unfinished.save(metric.state_dict())
        _, *others = process.gather(metric.state_dict()) or [None]
        if process.first:
            for other in others:
                metric.merge_state(other)
            report(job, cost.so_far(measured, job.waited))
            note_measured(job.folder)


if __name__ == "__main__":
    main()
