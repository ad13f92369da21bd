"""Files appear whole or not at all: written beside the target, then renamed over it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from equivariance.errors import UserError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` atomically: on any failure the old file stays and no part of the new one does."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Yields a temporary file beside `path`, renamed to `path` on success; a UserError where the system refuses."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; what was there before is intact: "
            "make room (or choose another runs_dir) and give the same command again"
        ) from error
    finally:
        beside.unlink(missing_ok=True)
