"""Progress bars on a terminal, plain lines in a log."""

import sys
from typing import Any

from tqdm import tqdm

shared_terminal = False  # set by the entry point where several jobs of a sweep print to one terminal


class Lines(tqdm):
    """A bar as plain lines on stderr, one every half minute and one at the end: for log files and CI."""

    def __init__(self, **count: Any):
        line = "{desc}: {percentage:.0f}%, {n_fmt} of {total_fmt} images, {rate_fmt}, {remaining} left{postfix}"
        if count["total"] is None:
            line = "{desc}: {n_fmt} images, {rate_fmt}{postfix}"
        super().__init__(**count, bar_format=line, mininterval=30, miniters=1, leave=False)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        print(self, file=sys.stderr, flush=True)

    @classmethod
    def write(cls, s: str, *_: Any, **__: Any) -> None:
        print(s, flush=True)


def progress(title: str, steps: int | None, done: int = 0, images: int = 1, delay: float = 0) -> tqdm:
    """A bar that counts images, with rate and time left; plain lines where no bar can be drawn.

    That is where stderr is no terminal, and where several jobs of a sweep share it.

    Args:
        steps, done: all steps, None where nobody knows how many; and those already taken.
        images: images of a step.
        delay: seconds before the bar appears.
    """
    total = None if steps is None else steps * images
    count: dict[str, Any] = {"total": total, "initial": done * images, "desc": title}
    count |= {"unit": "img", "unit_scale": True}
    if sys.stderr.isatty() and not shared_terminal:
        return tqdm(**count, mininterval=0.5, delay=delay, leave=None)
    return Lines(**count, delay=max(delay, 1))
