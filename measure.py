"""One measurement of one network: `python measure.py model=cnn7 dataset=mnist6 measure=rotation`.

Measures the network that `train.py` trained with the same configuration, published weights of it
(`model.weights=FILE`), or the same network untrained (`measure.trained=false`), and writes rows, a figure, the
indices of the images and the cost below the run's folder. An interrupted measurement goes on where it stopped.
`torchrun --nproc_per_node=K measure.py ...` splits the images over K processes, to the same result.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from equivariance.study.cli import entrypoint, note_measured, recorded, stoppable

if TYPE_CHECKING:
    from equivariance.study.runs.processes import Processes


@entrypoint
def main(cfg: DictConfig) -> None:
    from equivariance.study.runs.folder import measurement_folder
    from equivariance.study.runs.processes import processes

    with processes() as process, recorded(measurement_folder(cfg)) if "zoo" in cfg else nullcontext():
        measure(cfg, process)


def measure(cfg: DictConfig, process: Processes) -> None:
    """Measure this process's share of the images; the first process merges all shares and reports."""
    from equivariance import rows
    from equivariance.figures.summary import summary
    from equivariance.metric.equivariance import Equivariance
    from equivariance.progress import progress
    from equivariance.study.measuring import Subject, layer_table, report, report_partners
    from equivariance.study.runs import results
    from equivariance.study.runs.cost import Cost
    from equivariance.study.runs.folder import Run, measurement_config, measurement_folder

    say = print if process.first else None
    if cfg.measure.dry_run:
        print(layer_table(cfg, say))
        return
    subject = Subject(cfg, say)
    folder, model, images = measurement_folder(cfg), subject.model, subject.images
    config = measurement_config(cfg, subject.network, **subject.identity())
    memory = subject.hardware.explain_failures("measure.blocks", cfg.measure.blocks)
    with Run(folder).only_process() if process.first else nullcontext(), stoppable() as stop, memory:

        def new_metric(first_image: int) -> Equivariance:
            given = model, subject.example, subject.transforms, subject.patterns
            return Equivariance(*given, first_image=first_image, **subject.reading)

        if previous := results.finished(folder, config):
            if process.first:
                print(f"{folder} is complete:\n{summary(rows.read(previous))}")
                report_partners(subject, new_metric(0), folder)
                note_measured(folder)
            return
        start, end = process.share(len(subject.chosen))
        metric = new_metric(start)
        unfinished = results.Unfinished(folder, process, config)
        if state := unfinished.load():
            metric.load_state_dict(state)
            print(f"going on after {metric.images} images")
        if process.first:
            subject.announce(metric)
        resumed = start + metric.images
        stream, batches = subject.batches(metric, resumed, end, process.count)
        cost, first_batch = Cost(subject.hardware.device), True
        title = f"{cfg.dataset.name} {cfg.model.name} {cfg.measure.name}"
        with progress(title, end - start, resumed - start) as bar:
            for pixels, labels in batches:
                metric.update(images.normalise(pixels), labels)
                bar.update(len(pixels))
                subject.check_accuracy(metric)
                if first_batch:
                    subject.check_alive(metric)
                    first_batch = metric.images == 0
                stopping = bool(stop)
                if stopping or unfinished.due:
                    unfinished.save(metric.state_dict())
                if stopping:
                    print(f"\nstopped after {metric.images} images; the same command goes on from there")
                    raise SystemExit(stop.exit_code)
        metric.finish()
        subject.check_alive(metric)
        if process.count > 1:  # whoever waits for the others may be stopped
            unfinished.save(metric.state_dict())
        _, *others = process.gather(metric.state_dict()) or [None]
        if process.first:
            for other in others:
                metric.merge_state(other)
            report(cfg, subject, metric, folder, config, cost.so_far(end - resumed, stream.waited))
            note_measured(folder)


if __name__ == "__main__":
    main()
