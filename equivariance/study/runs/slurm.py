"""The jobs of a sweep on a Slurm cluster: what is printed while they are waited for, and how they end.

submitit asks `sacct`, which needs an accounting database. Here `squeue` is asked, which every cluster has.
"""

import re
import shutil
import subprocess
import time
from collections import Counter
from typing import Any

import submitit
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from submitit.core.core import InfoWatcher
from submitit.core.utils import FailedJobError, UncompletedJobError

from equivariance.errors import UserError

SECONDS = 10  # between two questions to squeue, at the most
SQUEUE = ("squeue", "--me", "--array", "--states=all", "--noheader", "--format=%F_%K|%T|%r")
LAUNCHER = "hydra.launcher"
OVER = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}
# A waiting job's reasons that pass by themselves; with any other one it may never start.
PASSING = {"None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Cleaning", "Prolog", "Licenses"}
REMEDIES = {  # by words of the other reasons
    "time|wall": "timeout_min",
    "cpu": "cpus_per_task",
    "mem": "mem_gb",
    "gres": "gpus_per_node",
    "account|qos|assoc": "account",
    "node|partition|constraint|config": "partition",
}
results = submitit.SlurmJob.results


class Slurm(Callback):
    """Hydra's callback of `hydra/launcher=slurm`: a sweep waits for all its jobs, whatever becomes of one."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Have submitit ask squeue."""
        if missing := [program for program in ("sbatch", "squeue", "srun") if shutil.which(program) is None]:
            raise UserError(
                f"hydra/launcher={config.hydra.runtime.choices['hydra/launcher']}: there is no "
                f"{', '.join(missing)} here; run it where jobs of the cluster are submitted"
            )
        print(f"Slurm: logs in {config.hydra.launcher.submitit_folder}")
        submitit.SlurmJob.watcher = Queue()  # type: ignore[assignment]
        submitit.SlurmJob.results = outcome  # type: ignore[method-assign, assignment]


class Queue(InfoWatcher):
    """The states of all jobs, from squeue, which forgets a job some minutes after its end. Changes are printed."""

    def __init__(self) -> None:
        super().__init__(delay_s=SECONDS)
        self.said = ""
        self.stuck: set[tuple[str, str]] = set()

    def update(self) -> None:
        """Ask squeue; where it does not answer, nothing has changed."""
        self._last_status_check = time.time()
        if not (left := self._registered - self._finished):
            return
        asked = subprocess.run(SQUEUE, capture_output=True, text=True)
        if asked.returncode:
            return
        lines = (line.split("|") for line in asked.stdout.splitlines())
        there = {job.removesuffix("_N/A"): {"State": state, "Reason": reason} for job, state, reason in lines}
        for job in sorted(left):
            self._info_dict[job] = there.get(job, {"State": "ENDED"})
            self._warn(job, **self._info_dict[job])
        self._finished |= {job for job in left if self.is_done(job, "cache")}
        arrays = {job.partition("_")[0] for job in self._registered if "_" in job}
        states = Counter(self.get_state(job, "cache").lower() for job in self._registered - arrays)
        text = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        if text != self.said:
            self.said = text
            print(f"Slurm: {text}", flush=True)

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """RUNNING, PENDING, or how the job has ended."""
        state = self.get_info(job_id, mode).get("State", "UNKNOWN")
        return state if state in OVER | {"ENDED", "PENDING", "UNKNOWN"} else "RUNNING"

    def _warn(self, job: str, State: str, Reason: str = "None") -> None:
        """Say once that jobs wait for what may never come."""
        array = job.partition("_")[0]
        if State != "PENDING" or Reason in PASSING or (array, Reason) in self.stuck:
            return
        self.stuck.add((array, Reason))
        remedy = next((key for words, key in REMEDIES.items() if re.search(words, Reason, re.I)), "partition")
        print(
            f"Slurm: job {array} waits for what may never come ({Reason}): "
            f"scancel {array}, and give another {LAUNCHER}.{remedy}",
            flush=True,
        )


def outcome(job: submitit.SlurmJob) -> list[JobReturn]:
    """What a job returned; where it ended without that, a failure. A failure is printed, and the others go on."""
    try:
        found = results(job)
    except (UncompletedJobError, FailedJobError):
        line = (
            f"it ended without a result ({job.state.lower()}); the same command goes on from what it has saved; "
            f"its log: {job.paths.stderr}"
        )
        found = [JobReturn(status=JobStatus.FAILED, _return_value=UserError(line))]
    for each in found:
        if each.status is JobStatus.FAILED:
            print(f"Slurm: job {job.job_id} failed: {each._return_value}", flush=True)
    return found
