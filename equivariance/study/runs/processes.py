"""One measurement split over the processes that `torchrun` starts: the images of each one, and gathering."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from equivariance.errors import UserError

TORCHRUN = ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # all are set


@dataclass(frozen=True)
class Processes:
    """This process, number `rank` of `count`."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that prints, tracks and writes the result."""
        return self.rank == 0

    def share(self, images: int) -> tuple[int, int]:
        """The images of this process, [start, stop); cuts are at even indices, so that pairs stay together."""
        start, stop = (2 * (images * rank // (2 * self.count)) for rank in (self.rank, self.rank + 1))
        return start, images if self.rank == self.count - 1 else stop

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes in the first one, an empty list in the others."""
        if self.count == 1:
            return [value]
        values = [None] * self.count if self.first else None
        try:
            dist.gather_object(value, values)
        except RuntimeError as error:
            raise UserError("another process of this measurement has ended; the same command goes on") from error
        return values or []


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the processes that torchrun started, by gloo between CPUs and NCCL between GPUs; else this one alone."""
    if not {*TORCHRUN} <= os.environ.keys():
        yield Processes()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
