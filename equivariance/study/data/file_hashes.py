"""Hashes of files' contents, remembered where hashing takes long."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from equivariance.errors import UserError
from equivariance.files import write_atomic
from equivariance.progress import progress

SLOW = 10  # seconds; longer hashing is remembered


def file_hashes(files: Sequence[Path], slow: float = SLOW) -> list[str]:
    """The hash of each file's content.

    Where that took longer than `slow` seconds, the hashes are kept in the user's cache folder, by the file's path,
    size, time of change and inode; a file that differs in one of them is hashed again.
    """
    cache = _cache(files)
    known = _remembered(cache)
    began = time.monotonic()

    def entry(file: Path) -> tuple[str, str]:
        check_regular(file)
        state = file.stat()
        key = f"{file.absolute()} {state.st_size} {state.st_mtime_ns} {state.st_ino}"
        if key in known:
            return key, known[key]
        try:
            with open(file, "rb") as content:
                return key, hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror}") from error

    entries = []
    with ThreadPoolExecutor() as pool, progress("hashing the images", len(files), delay=5) as bar:
        for found in pool.map(entry, files):
            entries.append(found)
            bar.update()
    if time.monotonic() - began > slow:
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(cache, json.dumps(known | dict(entries)))
        except OSError:  # a cache that cannot be written costs time alone
            pass
    return [value for _, value in entries]


def check_regular(file: Path) -> None:
    """Refuse what is no file: opening a pipe would wait for ever."""
    if not file.is_file():
        link = file.is_symlink() and not file.exists()
        what = (
            "it is a link to nothing" if link else "it is no regular file" if file.exists() else "it is not there"
        )
        raise UserError(f"cannot read the image {file}: {what}")


def _cache(files: Sequence[Path]) -> Path:
    """Where the hashes of these files are kept: one file for each data set."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "equivariance"
    root = files[0].absolute().parent.parent if files else Path()
    return folder / f"hashes-{hashlib.blake2b(str(root).encode(), digest_size=8).hexdigest()}.json"


def _remembered(cache: Path) -> dict[str, str]:
    try:
        content = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
