"""The cost of a measurement: time, the share of it that waits for images, peak memory."""

import contextlib
import resource
import time
from pathlib import Path

import torch


class Cost:
    """The clock and the peak of memory of one job, from here on.

    The peak is the GPU's, of all tensors, where the job runs on one; otherwise that of this process's resident
    memory (processes that decode images, some 100 MiB each, are not in it).
    """

    def __init__(self, device: torch.device):
        self.device, self.began = device, time.perf_counter()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak of the jobs before

    def so_far(self, images: int, waited: float) -> dict[str, float]:
        """Seconds, images/s, the share of the time that was waited for images in [0, 1], and the peak in MiB."""
        seconds = time.perf_counter() - self.began
        rates = {"images_per_second": round(images / seconds, 3), "waiting": round(waited / seconds, 4)}
        return {"seconds": round(seconds, 2)} | rates | {"peak_mib": round(self._peak())}

    def _peak(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
        except OSError:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
