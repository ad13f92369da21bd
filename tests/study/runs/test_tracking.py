"""What reaches Weights & Biases, read back with its own reader; the dashboard and the sweep."""

import json
import runpy
import time
from contextlib import suppress
from types import SimpleNamespace

import pandas as pd
import pytest
import wandb
import yaml
from hydra import compose, initialize_config_dir
from wandb.cli.leet import leet

from equivariance.errors import UserError
from equivariance.study.cli import jobs as experiments
from equivariance.study.config import CONF
from equivariance.study.identity import flat
from equivariance.study.runs import tracking
from equivariance.study.verdicts.rules import described
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

TINY = ("dataset=digits6", "model=cnn7", "model.width=4", "recipe.epochs=1", "wandb.mode=offline")


@pytest.fixture
def records(capfd):
    """The records of an offline run by type, by `wandb leet inspect`; complete once W&B's process is done."""

    def read(run):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            capfd.readouterr()
            with suppress(SystemExit):
                leet.main(["inspect", "--json", str(run)])
            found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
            if any(one["type"] == "exit" for one in found):
                kinds = {one["type"] for one in found}
                return {kind: [one[kind] for one in found if one["type"] == kind] for kind in kinds}
            time.sleep(0.2)
        raise AssertionError(f"{run} does not end")

    return read


def history(found):
    return pd.DataFrame([one["item"] for one in found["history"]])


def test_a_sweep_of_seeds_and_a_measurement_read_back(run, records, tmp_path):
    assert run("train.py", *TINY, "seed=0,1", "-m").code == 0
    runs = [records(one) for one in sorted((tmp_path / "runs/wandb").glob("offline-run-*"))]
    started = [one["run"][0] for one in runs]
    configs = [one["config"]["update"] for one in started]
    assert sorted(config["seed"] for config in configs) == [0, 1]
    assert len({one["run_id"] for one in started}) == 2
    assert {(one["run_group"], one["job_type"]) for one in started} == {("none", "train")}
    assert all({"dataset", "recipe", "provenance"} <= set(config) for config in configs)
    assert {config["curve"] for config in configs} == {configs[0]["curve"]}  # seeds are one curve
    for found, config in zip(runs, configs, strict=True):
        metrics = pd.read_csv(tmp_path / f"runs/digits6/cnn7/none/seed{config['seed']}/metrics.csv")
        assert history(found)[["epoch", "accuracy"]].round(6).equals(metrics[["epoch", "accuracy"]].round(6))
        assert found["exit"][0].get("exit_code", 0) == 0

    before = set((tmp_path / "runs/wandb").glob("offline-run-*"))
    result = run("measure.py", *TINY, "measure.images=20", "experiment=quickstart", "measure.trained=false")
    assert result.code == 0 and "wandb sync" in result.out, result.error
    (folder,) = set((tmp_path / "runs/wandb").glob("offline-run-*")) - before
    found = records(folder)
    started, curves = found["run"][0], history(found)
    assert (started["run_group"], started["job_type"]) == ("quickstart", "measure")
    assert started["config"]["update"]["measure"]["images"] == 20
    rows = pd.read_csv(tmp_path / "runs/digits6/cnn7/none/seed0/measure/rotation-images20-untrained/results.csv")
    scores = rows.groupby(["index", "score"]).value.mean().unstack()
    by_depth = curves.dropna(subset="layer").set_index("layer")
    assert list(by_depth.index) == list(range(9))
    assert abs(by_depth[["equivariance", "invariance"]] - scores).max(axis=None) < 1e-5
    table = json.loads((folder / "files" / curves["scores.path"].dropna().item()).read_text())
    assert len(table["data"]) == len(rows) and {*table["columns"]} >= {*rows} - {"run"}
    image = folder / "files" / curves["depth.path"].dropna().item()
    assert image.read_bytes().startswith(b"\x89PNG")
    summary = {key: value for one in found["summary"] for key, value in one["update"].items()}
    late = rows[(rows.part == "late") & (rows.score == "equivariance")].value.mean()
    assert summary["equivariance/late"] == pytest.approx(late, abs=1e-5)

    panels = runpy.run_path(str(REPOSITORY / "scripts/dashboard.py"))["panels"]()
    for line in (*panels["Training"], *panels["By depth"]):
        logged = curves if line.x == "layer" else history(runs[0])
        assert {line.x, *line.y} <= {*logged} and line.groupby.name in configs[0]
    assert {key for bar in panels["By part"] for key in bar.metrics} <= {*summary}
    parts = rows.groupby(["score", "part"]).value.mean()
    assert all(
        summary[f"{score}/{part}"] == pytest.approx(value, abs=1e-5) for (score, part), value in parts.items()
    )


def test_dashboard_offline_writes_what_it_would_send(tmp_path, capsys, monkeypatch):
    script = runpy.run_path(str(REPOSITORY / "scripts/dashboard.py"))
    experiments = {name: described()[name] for name in ("symmetry", "similarity", "controlled")}
    main = script["main"]
    monkeypatch.setitem(main.__globals__, "described", lambda: experiments)  # of all, verdicts take seconds
    main(f"runs_dir={tmp_path}", "wandb.mode=offline", "wandb.project=mine", "wandb.entity=us")
    assert str(tmp_path / "dashboard.json") in capsys.readouterr().out
    sent = json.loads((tmp_path / "dashboard.json").read_text())
    workspace = sent["workspace"]
    assert (workspace["entity"], workspace["project"]) == ("us", "mine")
    panels = [p for s in workspace["spec"]["section"]["panelBankConfig"]["sections"] for p in s["panels"]]
    grouped = [p["config"]["groupBy"] for p in panels if p["viewType"] in ("Run History Line Plot", "Bar Chart")]
    assert grouped and set(grouped) == {"curve.value"}
    shown = json.dumps(panels)
    for key in ("train_loss", "layer", "equivariance chance", "equivariance/late", "invariance/final"):
        assert f'"{key}"' in shown or f":{key}" in shown, key
    scatter = [p["config"] for p in panels if p["viewType"] == "Scatter Plot"]
    assert any(p["yAxis"] == "summary:accuracy" and p["xAxis"] == "summary:equivariance/late" for p in scatter)
    assert [report["displayName"] for report in sent["reports"]] == [
        about["title"] for about in experiments.values()
    ]
    for report, (name, about) in zip(sent["reports"], experiments.items(), strict=True):
        text = json.dumps(report, ensure_ascii=False)
        assert about["command"] in text and f'"value": "{name}"' in text
        assert all(f"| {number} |" in text for number in about["claims"])


def test_whatever_an_experiment_varies_is_a_curve_of_its_own():
    epochs = [
        flat(
            experiments.jobs("symmetry", "measure", ("seed=0", "dataset=mnist6", "measure.trained=true", epoch))[0]
        )
        for epoch in ("measure.epoch=1", "measure.epoch=5")
    ]
    assert epochs[0]["curve"] != epochs[1]["curve"]
    for name, count in {"symmetry": 6, "augmentation": 10, "capacity": 8, "accuracy_cifar": 4}.items():
        given = ("weights_dir=/nowhere",) if name == "accuracy_cifar" else ("seed=0",)
        jobs = experiments.jobs(name, "measure", given)
        assert len({flat(cfg)["curve"] for cfg in jobs}) == count, name


def test_the_sweep_names_what_train_py_takes():
    sweep = yaml.safe_load((REPOSITORY / "scripts/sweep.yaml").read_text())
    assert (REPOSITORY / sweep["program"]).exists() and "${args_no_hyphens}" in sweep["command"]
    grid = {key: each.get("values", [each.get("value")]) for key, each in sweep["parameters"].items()}
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
        for aug in grid["aug"]:
            cfg = compose(
                "config", [*(f"{key}={values[0]}" for key, values in grid.items() if key != "aug"), f"aug={aug}"]
            )
            assert cfg.aug.name == aug and cfg.recipe.epochs == 200


def test_a_run_that_fails_is_a_failed_run_for_wandb(run, records, tmp_path):
    lost = ("recipe.optimiser=sgd", "recipe.momentum=0.9", "recipe.lr=1e30")
    assert run("train.py", *TINY, *lost).code == 1
    (folder,) = (tmp_path / "runs/wandb").glob("offline-run-*")
    assert records(folder)["exit"][0]["exit_code"] == 1


@pytest.mark.parametrize(("error", "code"), [(None, 0), (SystemExit(143), 143), (UserError("no"), 1)])
def test_wandb_is_told_the_exit_code_of_the_job(monkeypatch, error, code):
    told = []
    fake = SimpleNamespace(id="1", dir=".", finish=lambda exit_code: told.append(exit_code))
    monkeypatch.setattr(wandb, "init", lambda **_: fake)
    settings = {"mode": "offline", "dir": "."}
    with suppress(UserError, SystemExit), tracking.tracked(settings, "train", REPOSITORY, {}, {}):
        if error:
            raise error
    assert told == [code]


@pytest.mark.parametrize(
    ("mode", "variables", "expected"),
    [
        *(("auto", {"WANDB_MODE": each}, each) for each in ("online", "offline", "disabled")),
        ("auto", {"WANDB_MODE": "dryrun"}, "offline"),
        *(("auto", {"WANDB_DISABLED": each}, "disabled") for each in ("true", "TRUE", "1", "yes")),
        *(
            ("auto", {"WANDB_DISABLED": each, "WANDB_MODE": "offline"}, "offline")
            for each in ("", "false", "0", "no")
        ),
        ("auto", {"WANDB_DISABLED": "true", "WANDB_MODE": "online"}, "disabled"),
        *((each, {"WANDB_MODE": "online"}, each) for each in ("offline", "disabled")),
        ("online", {"WANDB_MODE": "disabled"}, "online"),
    ],
)
def test_variables_of_wandb_are_heeded(monkeypatch, mode, variables, expected):
    """With a key as well, as without an answer it would be asked for 95 seconds; an option goes before them."""
    for name in ("WANDB_MODE", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WANDB_API_KEY": "0" * 40, **variables}.items():
        monkeypatch.setenv(name, value)
    assert tracking.mode_of(mode) == expected


def test_failures_of_wandb_cost_nothing(run, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise wandb.errors.CommError("no network")

    monkeypatch.setattr(wandb, "init", fail)
    result = run("train.py", *TINY, "wandb.mode=online")
    assert result.code == 0 and "W&B did not start (no network)" in result.error
    assert (tmp_path / "runs/digits6/cnn7/none/seed0/checkpoint.pt").exists()
