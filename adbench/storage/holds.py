"""What a process uses is not removed by another: holds on files and folders of a cache.

A hold is a shared lock on one byte of `.holds` in the folder of the place, chosen by its name; the system ends it
with the process, however that ends. Whoever removes a place locks its byte for itself meanwhile.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILE = ".holds"
_files: dict[Path, int] = {}
"""Folder -> descriptor. Closing one would end all holds of this process there (POSIX), so they stay open."""


def hold(place: Path) -> None:
    """Keep a file or folder, there or not yet, from being removed by `alone` of another process until this one ends.

    Waits while somebody removes it. In a folder that cannot be written, from which nothing can be removed, none is
    needed.
    """
    with suppress(OSError):
        fcntl.lockf(_file(place.parent), fcntl.LOCK_SH, 1, _byte(place))


@contextmanager
def alone(place: Path) -> Iterator[bool]:
    """Say whether no other process holds a place; within the block none can begin to. Raises OSError."""
    file = _file(place.parent)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte(place))
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, _byte(place))


def release() -> None:
    """End all holds of this process."""
    while _files:
        os.close(_files.popitem()[1])


def _file(folder: Path) -> int:
    folder = folder.resolve()
    if folder not in _files:
        folder.mkdir(parents=True, exist_ok=True)
        _files[folder] = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    return _files[folder]


def _byte(place: Path) -> int:
    return int.from_bytes(hashlib.sha256(place.name.encode()).digest()[:5], "big")
