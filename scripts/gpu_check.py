"""The first two minutes on a GPU: does all of it work there, and which settings should `make reproduce` have?

    python scripts/gpu_check.py [FOLDER]

Six steps, each in a process of its own: versions, device, memory; the CUDA tests; scores on the CPU and on the
device, equal to 1e-4; ten training steps eager, compiled, captured in a graph, and both, with equal losses; the
benchmarks of training and measuring; those in three processes at once. What a step prints is in FOLDER (gpu_check
unless given) before the next one begins; one that fails, or is not done in its share of two minutes, does not stop
the rest. The last line says the settings. Without a GPU the steps are small, have ten minutes, as the machine may
be a busy one, and a tape that repeats operations stands for the graph: that shows whether the script works, and
nothing of a GPU.
"""

from equivariance.study.cli import answer_help, command_line

answer_help(__name__, __doc__)  # before what takes seconds is imported

import copy
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

import equivariance as eq
from equivariance.errors import UserError
from equivariance.names import NESTED
from equivariance.study.config import REPOSITORY
from equivariance.study.data.augmentation import Augmentation
from equivariance.study.models import CNN7
from equivariance.study.training.hardware import Hardware
from tests.study.training.test_capture import on_tape
from tests.study.training.test_training import start_training
from train import step as train_step

ITSELF = f"{sys.executable} -u -W ignore scripts/gpu_check.py ."
CUDA_TESTS = f"{sys.executable} -m pytest -q -n 0 -k 'gpu or cuda' tests/study/training/test_capture.py"
BENCH = f"{sys.executable} -u scripts/bench.py "
SIZE = "--rounds 3 --models cnn7,resnet44" if torch.cuda.is_available() else "--rounds 1 --models cnn7 --batch 16"
BENCHES = f"{BENCH} train {SIZE} && {BENCH} measure --over image {SIZE}"
STEPS = {  # seconds, to which what earlier steps leave over is added; processes; command
    "machine": (15, 1, f"{ITSELF} machine"),
    "tests": (20, 1, CUDA_TESTS),
    "scores": (15, 1, f"{ITSELF} scores"),
    "training": (25, 1, f"{ITSELF} training"),
    "bench": (25, 1, BENCHES),
    "three": (20, 3, BENCHES),
}
PATIENCE = 1 if torch.cuda.is_available() else 5  # times the seconds
EQUAL = 1e-4  # scores of two devices
ALIKE = 0.05  # relative, losses in bfloat16; as of weights in test_capture.py
PAYS = 1.2  # three processes that do so many times as much as one
SAFE = "hardware.graph=false hardware.compile=false"  # where no way of training has come to its end


def main(folder: str = "gpu_check", step: str = "") -> None:
    if step:
        {"machine": machine, "scores": scores, "training": training}[step]()
        return
    there, began, until, failed = Path(folder), time.monotonic(), 0, []
    there.mkdir(parents=True, exist_ok=True)
    for number, (name, (seconds, processes, command)) in enumerate(STEPS.items(), 1):
        until += PATIENCE * seconds
        files = [there / f"{number}_{name}{process or ''}.txt" for process in range(processes)]
        outcome = run(command, files, began + until - time.monotonic())
        took = f"{time.monotonic() - began:.0f} s since the beginning"
        print(f"{number} {name}: {outcome}, {took}\n{files[0].read_text()}", flush=True)
        failed += [name] * (outcome != "done")
    print(settings(there))
    if failed:
        raise UserError(f"not done: {', '.join(failed)}; {there} has what they printed")


def run(command: str, files: list[Path], seconds: float) -> str:
    """Run a command for each file at once, which takes what it prints; `done`, or what went wrong, added there."""
    jobs, outcome, end = [], "done", time.monotonic() + seconds
    for file in files:
        with file.open("w") as out:
            words = ["bash", "-c", command]
            jobs.append(subprocess.Popen(words, cwd=REPOSITORY, stdout=out, stderr=out, start_new_session=True))
    for job, file in zip(jobs, files, strict=True):
        try:
            if code := job.wait(max(0, end - time.monotonic())):
                outcome = f"failed with exit code {code}"
        except subprocess.TimeoutExpired:
            os.killpg(job.pid, signal.SIGKILL)
            outcome = f"not done in {seconds:.0f} s"
        with file.open("a") as out:
            out.write(f"{outcome}\n")
    return outcome


def machine() -> None:
    """Versions, device, free memory."""
    hardware = Hardware()
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    print(f"{hardware.name}; {hardware.precision}, graph {hardware.graph}, compile {hardware.compile}")
    if hardware.device.type == "cuda":
        free, whole = torch.cuda.mem_get_info()
        print(f"{free / 2**30:.1f} of {whole / 2**30:.1f} GiB are free")


def scores() -> None:
    """All scores of a small network on the CPU and on the device, where it lies channels-last."""
    torch.manual_seed(0)
    hardware, model, images = Hardware.for_measuring(), CNN7(1, 6), torch.randn(64, 1, 28, 28)
    there, largest = hardware.place(copy.deepcopy(model)), 0.0
    for over, angles in (("image", [90, 180]), ("dataset", [90, 180]), ("image", [30, 45])):
        one, other = (
            eq.measure(network, images.to(device), eq.rotations(angles), over=over, scores=NESTED, blocks=2)
            for network, device in ((model, "cpu"), (there, hardware.device))
        )
        difference = (one[["value", "chance"]] - other[["value", "chance"]]).abs().max(axis=None)
        print(f"over {over}, {angles} degrees: {len(one)} rows differ by at most {difference:.1e}", flush=True)
        largest = max(largest, difference)
    if largest > EQUAL:
        raise UserError(f"the scores on {hardware.name} are not those on the CPU")


def training() -> None:
    """Ten steps in each way from the same beginning, and the time of those after; the fastest way that is right."""
    gpu, eager, times = torch.cuda.is_available(), None, dict[str, float]()
    for graph, compiled in ((False, False), (True, False), (False, True), (True, True)):
        if graph and compiled and not gpu:
            continue  # the tape cannot repeat what the compiler makes
        run, images = start_training(
            Augmentation(), hardware=on_tape() if graph and not gpu else Hardware(graph=graph, compile=compiled)
        )
        losses: list[torch.Tensor] = []
        while len(losses) < 30:
            for batch in run.batches(images):
                run.take(train_step, *batch)
                losses.append(run.totals.loss.clone())
                if len(losses) == 10:
                    first, began = torch.stack(losses).cpu(), time.perf_counter()
            run.end_epoch(0, 0, 0)
        torch.stack(losses).cpu()  # waits for the device
        seconds = (time.perf_counter() - began) / (len(losses) - 10)
        eager = first if eager is None else eager
        right = torch.allclose(first, eager, rtol=ALIKE)
        way = f"hardware.graph={graph} hardware.compile={compiled}".lower()
        print(f"{way}: {1e3 * seconds:.2f} ms a step, losses as eager: {right}", flush=True)
        times |= {way: seconds} if right else {}
        print(f"fastest: {min(times, key=times.__getitem__)}", flush=True)


def settings(there: Path) -> str:
    """What the steps say of the settings of `make reproduce`."""

    def found(pattern: str, files: str) -> list[list[str]]:
        return [re.findall(pattern, file.read_text(), re.MULTILINE) for file in sorted(there.glob(files))]

    (ways,) = found("^fastest: (.*)", "*_training.txt") or [[]]
    alone, *three = found(r"^ours, \S+ +([\d.]+) ms", "[56]_*.txt") or [[]]
    gains = [3 * float(one) / float(other) for times in three for one, other in zip(alone, times, strict=False)]
    gain = sum(gains) / max(len(gains), 1)
    words = f"--jobs {3 if gain > PAYS else 1} {[SAFE, *ways][-1]}"
    return f'three processes do {gain:.2f} times as much as one; make reproduce ARGS="{words}"'


if __name__ == "__main__":
    command_line(main)
