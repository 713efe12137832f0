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
    if folder not in _own or not _own[folder].lease.path.exists():
        lease = Lease(folder / f"{os.getpid()}-{uuid.uuid4().hex}")
        lease.acquire()
        _own[folder] = _Own(lease)
    return _own[folder]


@contextmanager
def alone(place: Path) -> Iterator[bool]:
    """Say whether no other process holds a place; within the block none can begin to. Raises OSError."""
    lease = _lease_of(place)
    if not lease.acquire(patient=False):
        yield False
        return
    with lease:
        yield not any(_is_held(place, held, lease) for held in _folder(place).glob("[!.]*"))


def _is_held(place: Path, held: Path, lease: Lease) -> bool:
    """Whether another process that has not ended has written this name; what one has left that did is removed."""
    if held in [own.lease.path for own in _own.values()]:
        return False
    with suppress(FileNotFoundError):
        if not is_believed(held, lease.path):
            held.unlink()
            return False
        return place.name.encode() in held.read_bytes().split(b"\n")[1:]
    return False


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
