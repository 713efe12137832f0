"""What a process uses is not removed by another: holds on files and folders of a cache.

A process has a lease in `.in-use` of the folder of each place, in which it writes the names of the places that it uses;
the hold ends with the lease, however the process ends. Whoever adds a name or removes a place has the lease of that
name meanwhile. So there are no file locks here either.
"""

from __future__ import annotations

import atexit
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from adbench.storage.leases import Lease, is_believed

FOLDER = ".in-use"


@dataclass
class _Own:
    """The lease of this process in a folder, and what it has written there."""

    lease: Lease
    names: set[str] = field(default_factory=set)


_own: dict[Path, _Own] = {}
os.register_at_fork(after_in_child=_own.clear)


def hold(place: Path) -> None:
    """Keep a file or folder, there or not yet, from being removed by `alone` of another process until this one ends.

    Waits while somebody removes it. In a folder that cannot be written, from which nothing can be removed, none is
    needed.
    """
    with suppress(OSError):
        own = _own_in(_folder(place))
        if place.name not in own.names:
            with _lease_of(place), own.lease.path.open("ab") as file:
                file.write(place.name.encode() + b"\n")
            own.names.add(place.name)


def _own_in(folder: Path) -> _Own:
    """The lease of this process; those that processes which have ended left there are removed."""
    if folder not in _own or not _own[folder].lease.path.exists():
        lease = Lease(folder / f"{os.getpid()}-{uuid.uuid4().hex}")
        lease.acquire()
        _own[folder] = _Own(lease)
        _held_by_others(folder, lease)
    return _own[folder]


@contextmanager
def alone(place: Path) -> Iterator[bool]:
    """Say whether no other process holds a place; within the block none can begin to. Raises OSError."""
    lease = _lease_of(place)
    if not lease.acquire(patient=False):
        yield False
        return
    with lease:
        names = _held_by_others(_folder(place), lease)
        yield not any(place.name.encode() in each for each in names)


def _held_by_others(folder: Path, now: Lease) -> list[frozenset[bytes]]:
    """The names that each other process has written which has not ended; what one left that has is removed."""
    own, held = {own.lease.path for own in _own.values()}, []
    for path in folder.glob("[!.]*"):
        if path in own:
            continue
        with suppress(FileNotFoundError), path.open("rb") as file:  # opened, a shared disk says how it is now
            if is_believed(file, now.path):
                held.append(_names(path, os.fstat(file.fileno()).st_size))
            else:
                path.unlink()
    return held


@lru_cache
def _names(path: Path, size: int) -> frozenset[bytes]:
    """Read once as long as none is added: a grid has a million score maps."""
    return frozenset(path.read_bytes()[:size].split(b"\n")[1:])


@atexit.register
def release() -> None:
    """End all holds of this process."""
    while _own:
        _own.popitem()[1].lease.release()


def _folder(place: Path) -> Path:
    folder = place.parent.resolve() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lease_of(place: Path) -> Lease:
    return Lease(_folder(place) / f".{place.name}")
