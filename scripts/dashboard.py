"""The project's dashboard on Weights & Biases: one workspace, and one report for each experiment.

    python scripts/dashboard.py [overrides, such as wandb.entity=TEAM or wandb.mode=offline]

Logged in (`wandb login`), it saves them there and prints their addresses. Otherwise it writes the specification
that it would send to runs/dashboard.json.
"""

from equivariance.study.cli import answer_help, command_line

answer_help(__name__, __doc__)  # before what takes seconds is imported

import json
from itertools import chain, product
from pathlib import Path

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from hydra import compose, initialize_config_dir

from equivariance.files import write_atomic
from equivariance.names import PARTS, SCORES
from equivariance.study.cli.jobs import FOLDER
from equivariance.study.config import CONF
from equivariance.study.runs.tracking import mode_of
from equivariance.study.verdicts.rules import described, markdown, verdicts_of


def main(*overrides: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
        cfg = compose("config", list(overrides))
    mode, project = mode_of(cfg.wandb.mode), cfg.wandb.project
    if mode != "online":
        target = Path(cfg.runs_dir) / "dashboard.json"
        write_atomic(target, specification(cfg.wandb.entity or "ENTITY", project))
        print(f"W&B is {mode}: nothing is sent; what would be is in {target}")
        return
    entity = cfg.wandb.entity or wandb.Api().default_entity
    for view in (workspace(entity, project), *reports(entity, project)):
        print(view.save().url if isinstance(view, ws.Workspace) else view.save() or view.url)


def specification(entity: str, project: str) -> str:
    """What `main` sends when logged in, as JSON."""
    views = [workspace(entity, project), *reports(entity, project)]
    models = [view._to_model().model_dump(mode="json", by_alias=True, exclude_none=True) for view in views]
    return json.dumps({"workspace": models[0], "reports": models[1:]}, indent=1) + "\n"


def workspace(entity: str, project: str) -> ws.Workspace:
    """All panels, in sections."""
    sections = [ws.Section(name=name, panels=each, is_open=True) for name, each in panels().items()]
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
                    runsets=[wr.Runset(name=name, filters=f"Group = '{name}'")], panels=[*chain(*panels().values())]
                ),
            ],
        )
        for name, about in described().items()
        if (FOLDER / name).exists()
    ]


def panels() -> dict[str, list]:
    """By section: of train.py's runs by epoch; of measure.py's scores by layer and part, and against accuracy.

    A curve is the mean of the runs that differ in nothing but their seed, with its deviation, see runs/tracking.py.
    """
    curves = {"groupby": wr.Config("curve"), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    trained = {"loss": ["train_loss", "loss"], "accuracy": ["train_accuracy", "accuracy"], "seconds": ["seconds"]}
    return {
        "Training": [wr.LinePlot(title=title, x="epoch", y=y, **curves) for title, y in trained.items()],
        "By depth": [
            wr.LinePlot(
                title=f"{score} by depth", x="layer", y=[score, f"{score} chance"], range_y=(0, 1), **curves
            )
            for score in SCORES
        ],
        "By part": [
            wr.BarPlot(title=f"{score}, {part}", metrics=[f"{score}/{part}"], range_x=(0, 1), **curves)
            for score, part in product(SCORES, PARTS)
        ],
        "Accuracy against equivariance": [
            wr.ScatterPlot(
                title=f"accuracy against equivariance, {part}",
                x=wr.SummaryMetric(f"equivariance/{part}"),
                y=wr.SummaryMetric("accuracy"),
                regression=True,
            )
            for part in PARTS
        ],
        "Figures of the measurements": [wr.MediaBrowser(media_keys=["depth"])],
    }


if __name__ == "__main__":
    command_line(main)
