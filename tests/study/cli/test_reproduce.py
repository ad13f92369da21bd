"""The plan of a reproduction: what is done, what is missing, and that every preset can be planned."""

import pytest
import torch

from equivariance.study.checkout import CONF
from equivariance.study.cli.jobs import jobs
from equivariance.study.identity import measurement_folder
from equivariance.study.runs.folder import CHECKPOINT, Run
from scripts import reproduce

pytestmark = pytest.mark.slow


@pytest.fixture
def quick(monkeypatch):
    """Timings that take no time: ten seconds a training, one a measurement."""
    timings = reproduce.Timings()
    monkeypatch.setattr(timings, "training", lambda cfg: (10.0 * 360, 2.0**30))
    monkeypatch.setattr(timings, "measuring", lambda cfg: 360.0)
    return timings


def test_the_plan_follows_what_is_there(tmp_path, quick):
    given = (f"runs_dir={tmp_path}",)
    before = reproduce.plan("quickstart", given, quick)
    assert (before.networks, before.trained, before.measurements, before.measured) == (1, 0.0, 1, 0)
    assert before.hours == pytest.approx(1.1) and before.disk == 1 and not before.complete and not before.missing

    (job,) = jobs("quickstart", "measure", given)
    folder = measurement_folder(job)
    folder.mkdir(parents=True)
    run = Run(folder.parent.parent)
    run.write_metrics([{"epoch": 1}] * 15)  # of a training that was killed before its checkpoint: it does not count
    state = dict.fromkeys(CHECKPOINT) | {"config": {}, "step": 0}
    run.save(state | {"epoch": 12, "history": [{}] * 12})
    half = reproduce.plan("quickstart", given, quick)
    assert half.trained == 0.8 and half.hours == pytest.approx(0.3)
    run.save(state | {"epoch": 15, "history": [{}] * 15})
    (folder / "results.csv").write_text("")
    after = reproduce.plan("quickstart", given, quick)
    assert after.complete and after.hours == 0
    shown = reproduce.table([before, after], 2)
    assert "0 of 1" in shown and "1 of 1" in shown and "100%" in shown and "0.6 hours" in shown


def test_what_is_missing_is_named_with_how_to_get_it(tmp_path, quick):
    given = f"runs_dir={tmp_path}", f"data_dir={tmp_path}"
    found = reproduce.plan("architectures", given, quick)
    assert str(tmp_path / "imagenet") in found.missing and found.hours == 0
    assert "architectures is left out" in reproduce.table([found], 1)
    found = reproduce.plan("public_similarity", (*given, f"weights_dir={tmp_path}"), quick)
    assert str(tmp_path) in found.missing


def test_a_network_is_timed_once(monkeypatch):
    torch.manual_seed(0)
    (cfg,) = jobs("quickstart", "train", ("hardware.threads=1",))
    timings = reproduce.Timings()
    seconds, size = timings.training(cfg)
    monkeypatch.setattr(reproduce, "_seconds", lambda work: pytest.fail("timed again"))
    assert timings.training(cfg) == (seconds, size) and seconds > 0
    parameters = 4 * sum(
        p.numel() for p in torch.nn.Module.parameters(reproduce.models.build(cfg.model, (1, 28, 28), 6))
    )
    assert size == 3 * parameters  # with the two averages of Adam


@pytest.mark.parametrize("entrypoint", ["train", "measure"])
@pytest.mark.parametrize("preset", sorted(path.stem for path in CONF.glob("experiment/*_reduced.yaml")))
def test_presets_of_reduced_studies_compose_for_both_commands(preset, entrypoint):
    from equivariance.study.cli.jobs import each_job

    first = next(each_job(preset, entrypoint))
    assert first.measure.epoch == (0 if entrypoint == "measure" else None)
