"""The first two minutes on a GPU: does all of it work there, and which settings should `make reproduce` have?

    python scripts/gpu_check.py [FOLDER]

Six steps, each in a process of its own: versions, device, memory; the CUDA tests; scores on the CPU and on the
device, equal to 1e-4; ten training steps eager, compiled, captured in a graph, and both, with equal losses; the
benchmarks of training and measuring; those in three processes at once. What a step prints is in FOLDER (gpu_check
unless given) before the next one begins; one that fails, or is not done in its share of two minutes, does not stop
the rest. The last line says the settings. Without a GPU the steps are small, and a tape that repeats operations
stands for the graph: that shows whether the script works, and nothing of a GPU.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from equivariance.errors import UserError
from equivariance.study.checkout import REPOSITORY
from equivariance.study.cli import command_line

PYTHON = f"{sys.executable} -u"
BENCH = f"{PYTHON} scripts/bench.py train {{0}} && {PYTHON} scripts/bench.py measure --over image {{0}}"
STEPS = {  # name: seconds, to which what earlier steps leave over is added; processes; command
    "machine": (10, 1, f"{PYTHON} scripts/gpu_check.py . machine"),
    "tests": (25, 1, f"{PYTHON} -m pytest -q -n 0 -k 'gpu or cuda' tests/study/training/test_capture.py"),
    "scores": (15, 1, f"{PYTHON} scripts/gpu_check.py . scores"),
    "training": (25, 1, f"{PYTHON} scripts/gpu_check.py . training"),
    "bench": (25, 1, BENCH),
    "three": (20, 3, BENCH),
}
LARGE, SMALL = "--rounds 3 --models cnn7,resnet44", "--rounds 1 --models cnn7 --batch 16"  # benchmarks
EQUAL = 1e-4  # scores of two devices
ALIKE = {"rtol": 0.05, "atol": 0.01}  # losses in bfloat16, as of weights in test_capture.py
SAFE = ["hardware.graph=false hardware.compile=false"]  # where no way of training has come to its end
WORTH_IT = 1.2  # three processes do so many times as much as one


def main(folder: str = "gpu_check", step: str = "") -> None:
    if step:
        {"machine": machine, "scores": scores, "training": training}[step]()
        return
    import torch  # here and below, as it takes seconds that --help does not need

    there, began, until, failed = Path(folder), time.monotonic(), 0, []
    there.mkdir(parents=True, exist_ok=True)
    for number, (name, (seconds, processes, command)) in enumerate(STEPS.items(), 1):
        until += seconds
        files = [there / f"{number}_{name}{process or ''}.txt" for process in range(processes)]
        command = command.format(LARGE if torch.cuda.is_available() else SMALL)
        outcome = run(command, files, began + until - time.monotonic())
        print(
            f"{number} {name}: {outcome}, {time.monotonic() - began:.0f} s in all\n{files[0].read_text()}",
            flush=True,
        )
        failed += [name] * (outcome != "done")
    print(settings(there))
    if failed:
        raise UserError(f"not done: {', '.join(failed)}; {there} has what they printed")


def run(command: str, files: list[Path], seconds: float) -> str:
    """Run a command for each file at once, which takes what it prints; `done`, or what went wrong, added there."""
    words = ["bash", "-c", command]
    jobs = []
    for file in files:
        with file.open("w") as out:
            jobs.append(
                subprocess.Popen(words, cwd=REPOSITORY, stdout=out, stderr=out, start_new_session=True, text=True)
            )
    outcome, end = "done", time.monotonic() + seconds
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
    import torch

    from equivariance.study.training.hardware import Hardware

    hardware = Hardware()
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    print(f"{hardware.name}; {hardware.precision}, graph {hardware.graph}, compile {hardware.compile}")
    if hardware.device.type == "cuda":
        free, whole = torch.cuda.mem_get_info()
        print(f"{free / 2**30:.1f} of {whole / 2**30:.1f} GiB are free")


def scores() -> None:
    """All scores of a small network on the CPU and on the device, where it lies channels-last."""
    import copy

    import torch

    import equivariance as eq
    from equivariance.names import NESTED
    from equivariance.study.models import CNN7
    from equivariance.study.training.hardware import Hardware

    torch.manual_seed(0)
    hardware, model, images = Hardware.for_measuring(), CNN7(1, 6), torch.randn(200, 1, 28, 28)
    there = hardware.place(copy.deepcopy(model))
    cases = {over: (eq.rotations(), {"over": over, "scores": NESTED}) for over in ("image", "dataset")}
    cases["continuous"] = (eq.rotations([30, 45]), {})
    differences = {}
    for name, (transforms, options) in cases.items():
        one = eq.measure(model, images, transforms, **options)
        other = eq.measure(there, images.to(hardware.device), transforms, **options)
        differences[name] = (one[["value", "chance"]] - other[["value", "chance"]]).abs().max(axis=None)
        print(f"{name}: {len(one)} rows, largest difference {differences[name]:.1e}", flush=True)
    if not max(differences.values()) < EQUAL:
        raise UserError(f"the scores on {hardware.name} are not those on the CPU")


def training() -> None:
    """Ten steps in each way from the same beginning, and the time of twenty more; the fastest one that is right."""
    import torch

    from equivariance.study.data.augmentation import Augmentation
    from equivariance.study.training.hardware import Hardware
    from tests.study.training.test_capture import on_tape
    from tests.study.training.test_training import start_training
    from train import step

    gpu, eager, times = torch.cuda.is_available(), None, {}
    for graph, compiled in ((False, False), (False, True), (True, False), (True, True)):
        if graph and compiled and not gpu:
            continue  # what the compiler makes is nothing that the tape could repeat
        hardware = Hardware(graph=graph, compile=compiled) if gpu or not graph else on_tape()
        run, images = start_training(Augmentation(), hardware=hardware)
        losses, began = [], time.perf_counter()
        while len(losses) < 30:
            for batch in run.batches(images):
                run.take(step, *batch)
                losses.append(run.totals.loss.clone())
                if len(losses) == 10:
                    sums, began = torch.stack(losses).cpu(), time.perf_counter()
            run.end_epoch(0, 0, 0)
        torch.stack(losses).cpu()  # waits for the device
        way = f"hardware.graph={graph} hardware.compile={compiled}".lower()
        times[way] = (time.perf_counter() - began) / (len(losses) - 10)
        eager = sums if eager is None else eager
        right = torch.allclose(sums, eager, **ALIKE)
        print(
            f"{way}: {1e3 * times[way]:.2f} ms a step, loss {sums[-1] / 640:.4f}{'' if right else ', WRONG'}",
            flush=True,
        )
        if not right:
            del times[way]
    print(f"fastest: {min(times, key=times.__getitem__)}")


def settings(there: Path) -> str:
    """What the steps say of the settings of `make reproduce`."""

    def found(pattern: str, file: Path) -> list[str]:
        return re.findall(pattern, file.read_text(), re.MULTILINE)

    way = [line for file in there.glob("*_training.txt") for line in found("^fastest: (.*)", file)]
    alone, *three = (found(r"^ours, \S+ +([\d.]+) ms", file) for file in sorted(there.glob("[56]_*.txt")))
    gains = [3 * float(one) / float(other) for times in three for one, other in zip(alone, times, strict=False)]
    gain = sum(gains) / len(gains) if gains else 0
    words = f"--jobs {3 if gain > WORTH_IT else 1} {(way or SAFE)[0]}"
    return f'three processes do {gain:.2f} times as much as one; make reproduce ARGS="{words}"'


if __name__ == "__main__":
    command_line(main)
