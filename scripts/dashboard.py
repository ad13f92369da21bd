"""The project's dashboard on Weights & Biases: one workspace, and one report for each experiment.

    python scripts/dashboard.py [overrides, such as wandb.entity=TEAM or wandb.mode=offline]
    python scripts/dashboard.py --check [runs_dir=FOLDER]

Logged in (`wandb login`), it saves them there and prints their addresses. Otherwise it writes the specification
that it would send to runs/dashboard.json. With --check it needs no account: it reads the offline runs in runs/wandb
and draws the grouped panels of the workspace from them, mean and deviation over the runs of each curve, into
runs/dashboard.png, with the values in runs/dashboard.csv.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from hydra import compose, initialize_config_dir

from equivariance.errors import UserError
from equivariance.figures import style
from equivariance.files import write_atomic
from equivariance.names import PARTS, SCORES
from equivariance.study.checkout import CONF
from equivariance.study.cli import command_line
from equivariance.study.cli.jobs import FOLDER
from equivariance.study.runs.tracking import mode_of
from equivariance.study.verdicts.rules import described, markdown, verdicts_of

# mean and deviation over the runs that differ in nothing but their seed, see equivariance/study/runs/tracking.py
BY_CURVE = {"groupby": wr.Config("curve"), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}


def main(*words: str) -> None:
    overrides = [word for word in words if word != "--check"]
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
        cfg = compose("config", overrides)
    if "--check" in words:
        check(Path(cfg.runs_dir))
        return
    mode, project = mode_of(cfg), cfg.wandb.project
    if mode != "online":
        target = Path(cfg.runs_dir) / "dashboard.json"
        write_atomic(target, specification(cfg.wandb.entity or "ENTITY", project))
        print(f"W&B is {mode}: nothing is sent; what would be is in {target}")
        return
    import wandb

    entity = cfg.wandb.entity or wandb.Api().default_entity
    for view in (workspace(entity, project), *reports(entity, project)):
        print(view.save().url if isinstance(view, ws.Workspace) else view.save() or view.url)


def specification(entity: str, project: str) -> str:
    """What `main` sends when logged in, as JSON."""
    views = [workspace(entity, project), *reports(entity, project)]
    models = [view._to_model().model_dump(mode="json", by_alias=True, exclude_none=True) for view in views]
    return json.dumps({"workspace": models[0], "reports": models[1:]}, indent=1) + "\n"


def workspace(entity: str, project: str) -> ws.Workspace:
    """Training, both scores by depth and by part, accuracy against equivariance."""
    sections = [
        ws.Section(name="Training, mean and deviation over seeds", panels=training(), is_open=True),
        ws.Section(name="By depth, mean and deviation over seeds", panels=depth(), is_open=True),
        ws.Section(name="By part", panels=parts(), is_open=True),
        ws.Section(name="Accuracy against equivariance", panels=accuracy(), is_open=True),
        ws.Section(name="Figures of the measurements", panels=[wr.MediaBrowser(media_keys=["depth"])]),
    ]
    return ws.Workspace(entity=entity, project=project, name="Learned equivariance", sections=sections)


def reports(entity: str, project: str) -> list[wr.Report]:
    """For each experiment its claims, verdicts and command, and the panels of its runs."""
    return [
        wr.Report(
            entity=entity,
            project=project,
            title=about["title"],
            description=about["setting"],
            blocks=[
                wr.MarkdownBlock(text=f"{markdown(verdicts_of(name))}\n\n`{about['command']}`"),
                wr.PanelGrid(
                    runsets=[wr.Runset(name=name, filters=f"Group = '{name}'")],
                    panels=[*training(), *depth(), *parts(), *accuracy(), wr.MediaBrowser(media_keys=["depth"])],
                ),
            ],
        )
        for name, about in described().items()
        if (FOLDER / name).exists()
    ]


def training() -> list:
    """Of train.py's runs: loss, accuracy and seconds by epoch."""
    curves = {"loss": ["train_loss", "loss"], "accuracy": ["train_accuracy", "accuracy"], "seconds": ["seconds"]}
    return [wr.LinePlot(title=title, x="epoch", y=y, **BY_CURVE) for title, y in curves.items()]


def depth() -> list:
    """Of measure.py's runs: each score and its chance level by layer."""
    return [
        wr.LinePlot(
            title=f"{measure} by depth", x="layer", y=[measure, f"{measure} chance"], range_y=(0, 1), **BY_CURVE
        )
        for measure in SCORES
    ]


def parts() -> list:
    """Of measure.py's runs: the mean of each score in each part of the network."""
    return [
        wr.BarPlot(title=f"{measure}, {part}", metrics=[f"{measure}/{part}"], range_x=(0, 1), **BY_CURVE)
        for measure in SCORES
        for part in PARTS
    ]


def accuracy() -> list:
    """Of measure.py's runs: the accuracy of the network against its equivariance in each part."""
    return [
        wr.ScatterPlot(
            title=f"accuracy against equivariance, {part}",
            x=wr.SummaryMetric(f"equivariance/{part}"),
            y=wr.SummaryMetric("accuracy"),
            regression=True,
        )
        for part in PARTS
    ]


@dataclass(frozen=True)
class Logged:
    """What an offline run holds: its configuration, the steps of its history, and its summary."""

    config: dict[str, Any]
    history: pd.DataFrame
    summary: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Logged":
        """By W&B's own reader.

        Raises:
            UserError: it cannot read the run, which may still be going on.
        """
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        records = [json.loads(line) for line in done.stdout.splitlines()]
        found = {
            kind: [one[kind] for one in records if one["type"] == kind] for kind in ("run", "history", "summary")
        }
        if done.returncode or not found["run"]:
            raise UserError(f"{folder}: W&B cannot read this run; move it elsewhere")
        config = {key: value for one in found["run"] for key, value in one["config"]["update"].items()}
        summary = {key: value for one in found["summary"] for key, value in one["update"].items()}
        return cls(config, pd.DataFrame([one["item"] for one in found["history"]]), summary)


def check(runs_dir: Path) -> None:
    """Draw the workspace's grouped panels from the offline runs below a folder.

    Raises:
        UserError: there are no offline runs.
    """
    folders = sorted(runs_dir.glob("wandb/offline-run-*"))
    if not folders:
        raise UserError(f"no offline runs in {runs_dir / 'wandb'}: wandb.mode=offline writes some")
    values = grouped([Logged.read(folder) for folder in folders])
    target = runs_dir / "dashboard"
    write_atomic(target.with_suffix(".csv"), values.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    style.save(drawn(values), target)
    print(f"{len(folders)} offline runs, {values.curve.nunique()} curves: {target}.png, {target}.csv")


def grouped(runs: Sequence[Logged]) -> pd.DataFrame:
    """The values of the workspace's line and bar panels: rows of panel, key, curve, x, mean, deviation and runs.

    As the panels ask W&B to: each metric is averaged over the runs whose configuration has the same value of the
    panel's `groupby`, with their standard deviation.
    """
    found = []
    for panel in [*training(), *depth(), *parts()]:
        lines = isinstance(panel, wr.LinePlot)
        for metric in panel.y if lines else panel.metrics:
            key, x = (getattr(each, "name", each) for each in (metric, panel.x if lines else None))
            for run in runs:
                curve = run.config[panel.groupby.name]
                if lines and {x, key} <= {*run.history}:
                    steps = run.history[[x, key]].dropna()
                    found += [(panel.title, key, curve, float(at), value) for at, value in steps.to_numpy()]
                elif not lines and key in run.summary:
                    found.append((panel.title, key, curve, key.rpartition("/")[2], run.summary[key]))
    table = pd.DataFrame(found, columns=["panel", "key", "curve", "x", "value"])
    each = table.groupby(["panel", "key", "curve", "x"], sort=False).value
    return each.agg(mean="mean", deviation="std", runs="size").reset_index()


def drawn(values: pd.DataFrame) -> style.Figure:
    """A panel for each title; the bar panels of a score side by side, one place for each part."""
    panel = values.panel.where(~values.x.isin(PARTS), values.key.str.partition("/")[0] + " by part")
    curves = dict(zip(values.curve.unique(), (style.COLOURS * len(values))[: values.curve.nunique()], strict=True))
    titles = list(panel.unique())
    size = (style.COLUMN, 1.7 * len(titles) + 0.16 * len(curves) + 0.3)
    figure, grid = style.plt.subplots(len(titles), 1, figsize=size, layout="constrained", squeeze=False)
    for title, axes in zip(titles, grid[:, 0], strict=True):
        for (curve, key), one in values[panel == title].groupby(["curve", values.key.str.partition("/")[0]]):
            dotted = "chance" in key or key.startswith("train_")
            line = "" if one.x.isin(PARTS).any() else ":" if dotted else "-"
            axes.errorbar(one.x, one["mean"], one.deviation, color=curves[curve], ls=line, marker="o", ms=2.5, lw=1)
        axes.set_title(title, loc="left")
    handles = [style.plt.Line2D([], [], color=colour, marker="o", ms=2.5) for colour in curves.values()]
    figure.legend(handles, curves, loc="outside lower center", fontsize=6)
    return figure


if __name__ == "__main__":
    command_line(main)
