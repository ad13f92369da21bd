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

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from equivariance.errors import UserError
from equivariance.study.config import REPOSITORY

CHECKS = f"{sys.executable} -u -W ignore -m tests.study.training.on_device "
CUDA_TESTS = f"{sys.executable} -m pytest -q -n 0 -k 'gpu or cuda' tests/study/training/test_capture.py"
BENCH = f"{sys.executable} -u scripts/bench.py "
SIZE = "--rounds 3 --models cnn7,resnet44" if torch.cuda.is_available() else "--rounds 1 --models cnn7 --batch 16"
BENCHES = f"{BENCH} train {SIZE} && {BENCH} measure --over image {SIZE}"
STEPS = {  # seconds, to which what earlier steps leave over is added; processes; command
    "machine": (15, 1, f"{CHECKS}machine"),
    "tests": (20, 1, CUDA_TESTS),
    "scores": (15, 1, f"{CHECKS}scores"),
    "training": (25, 1, f"{CHECKS}training"),
    "bench": (25, 1, BENCHES),
    "three": (20, 3, BENCHES),
}
PATIENCE = 1 if torch.cuda.is_available() else 5  # times the seconds
PAYS = 1.2  # three processes that do so many times as much as one
SAFE = "hardware.graph=false hardware.compile=false"  # where no way of training has come to its end


def main(folder: str = "gpu_check") -> None:
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
