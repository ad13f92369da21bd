"""Stopping: a flag in place of Ctrl-C and SIGTERM, and processes that end with the one that started them."""

import functools
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether Ctrl-C, SIGTERM or a cluster's warning has asked to stop."""

    number: int | None = None
    at: float = 0.0

    def __bool__(self) -> bool:
        return self.number is not None

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM; 128 and the signal's number."""
        return 128 + (self.number or 0)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Inside, Ctrl-C and SIGTERM only set the flag that is yielded; at the end a flag that is set exits.

    So does SIGUSR1 or SIGUSR2 where somebody waits for it: submitit, which a cluster warns so before the time of a
    job is over. At the end it has the signal, and puts the job into the queue again.

    A second Ctrl-C stops at once. Further SIGTERMs do nothing: `timeout` and torchrun send several, to the process
    and to its group, also after a Ctrl-C, and a state that is being saved must not be lost by them.
    """
    stop = Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    warnings = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    before |= {number: handler for number, handler in warnings.items() if callable(handler)}

    def note(number: int, _frame: FrameType | None) -> None:
        if not stop:
            stop.number, stop.at = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - stop.at > 1:  # a person's, not a launcher's copy
            raise KeyboardInterrupt

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if stop.number in warnings:
            signal.raise_signal(stop.number)  # which exits
    if stop:  # it came too late for this job, but there may be more in the sweep
        raise SystemExit(stop.exit_code)


@functools.cache
def end_with_parent() -> None:
    """From here on, end when the process that started this one is gone; a job under way first saves its state."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        while True:  # inside `stoppable` the first one saves, and outside it one is enough
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(2)

    threading.Thread(target=watch, daemon=True).start()
