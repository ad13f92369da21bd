"""Damaged files: whatever happens to a file that the product reads back, nothing but its own error leaves."""

import random

import pytest
import safetensors.torch
import torch

from equivariance import rows
from equivariance.errors import UserError
from equivariance.study.models import weights
from equivariance.study.runs import results
from equivariance.study.runs.folder import CHECKPOINT, Run, write_config
from equivariance.study.runs.processes import Processes
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

DAMAGES = 300  # of each kind of file
CONFIG = {"model": {"name": "cnn7", "width": 4}, "seed": 0, "data": "0123456789abcdef"}
MODEL = {"final.weight": torch.arange(12.0).view(3, 4), "final.bias": torch.arange(3.0)}


def checkpoint(folder):
    history = {"epoch": 1, "history": [{"accuracy": 0.5}]}
    Run(folder).save(dict.fromkeys(CHECKPOINT) | {"config": CONFIG, "model": MODEL} | history)
    return folder / "checkpoint.pt", lambda: Run(folder).load(CONFIG)["model"]


def kept_weights(folder):
    path = Run(folder).kept(1)
    path.parent.mkdir()
    torch.save({"epoch": 1, "accuracy": 0.5, "model": MODEL}, path)
    return path, lambda: Run(folder)._kept_weights(1, 2)[1]


def statistics(folder):
    unfinished = results.Unfinished(folder, Processes(), CONFIG)
    unfinished.save(MODEL)
    return unfinished.path, unfinished.load


def configuration(folder):
    (folder / "results.csv").touch()
    write_config(folder, CONFIG)
    return folder / "config.yaml", lambda: results.finished(folder, CONFIG)


def table(folder):
    rows.write(folder / "results.csv", rows.read(REPOSITORY / "experiments/symmetry/results.csv").iloc[:4])
    return folder / "results.csv", lambda: rows.read(folder / "results.csv")


def runs(folder):
    file, read = table(folder)
    return rows.runs_file(file), read


def state_dict(folder):
    torch.save(MODEL, folder / "net.pt")
    return folder / "net.pt", lambda: weights.read(folder / "net.pt")


def old_state_dict(folder):
    torch.save(MODEL, folder / "net.pth", _use_new_zipfile_serialization=False)
    return folder / "net.pth", lambda: weights.read(folder / "net.pth")


def tensors(folder):
    safetensors.torch.save_file(MODEL, folder / "net.safetensors")
    return folder / "net.safetensors", lambda: weights.read(folder / "net.safetensors")


def damaged(content, chance):
    """The content cut, emptied, overwritten, with a part left out or twice, or with some bits flipped."""
    start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    kind = chance.choice(("cut", "empty", "zeros", "noise", "gap", "twice", "flip", "flip", "flip", "flip"))
    if kind == "flip":
        flipped = bytearray(content)
        for _ in range(chance.choice((1, 2, 8))):
            flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        return bytes(flipped)
    middle = {"zeros": bytes(end - start), "noise": chance.randbytes(end - start), "twice": 2 * content[start:end]}
    if kind in ("cut", "empty"):
        return content[: start if kind == "cut" else 0]
    return content[:start] + middle.get(kind, b"") + content[end:]


@pytest.mark.parametrize("kind", [checkpoint, kept_weights, statistics])
def test_a_damaged_state_is_refused_or_unchanged(kind, tmp_path):
    for found in survivors(*kind(tmp_path)):
        same = found is not None and found.keys() == MODEL.keys()
        assert same and all(torch.equal(found[name], MODEL[name]) for name in MODEL)


@pytest.mark.parametrize("kind", [configuration, table, runs, state_dict, old_state_dict, tensors])
def test_damaged_files_end_in_a_line(kind, tmp_path):
    assert sum(1 for _ in survivors(*kind(tmp_path))) < DAMAGES


def survivors(path, read):
    """What is read from the file in spite of its damage, time after time; every error must be a line of ours."""
    content, chance = path.read_bytes(), random.Random(0)
    read()
    for number in range(DAMAGES):
        path.write_bytes(damaged(content, chance))
        try:
            found = read()
        except UserError as error:
            assert str(path) in str(error) or str(path.parent) in str(error), str(error)
            assert "\n" not in str(error), str(error)
        except BaseException as error:
            raise AssertionError(f"damage {number} of {path.name}: {error!r}") from error
        else:
            yield found
