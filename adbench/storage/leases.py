"""One process at a time makes a thing: a lease is a file, and needs no file locks, which shared disks (NFS) may lack.

One process alone can create the file (O_EXCL), and its owner changes it again and again. Whoever waits and has not seen
it change for `DURATION_S` takes it over: no clock of another machine counts, nor the time in which the disk did not
answer. On the owner's machine it is free as soon as the process is gone. An owner that was only held up has company
then, so what is made under a lease is published by the first (`Saved.save_first`).
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

import psutil

DURATION_S = 60.0
"""How long a lease is believed that does not change; the same on all machines that share a disk."""
BEATS = 6
"""Changes of a lease in that time."""
FIRST_POLL_S, POLL_S = 0.01, 0.5
"""How often whoever waits looks: ever less often."""


class Lease:
    """On what `path` stands for, in a folder that is there; for one thread."""

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, -1
        self._owner = f"{_machine()} {os.getpid()} {uuid.uuid4().hex}"
        self._ends, self._beating = threading.Event(), threading.Thread(target=self._beat, daemon=True)

    def acquire(self, waits: Callable[[], object] = lambda: None, patient: bool = True) -> bool:
        """Take it, after whoever has it; False where its owner lives and this one is not `patient`.

        `waits` is called once where another has it. Raises OSError where the file cannot be made.
        """
        seen, unchanged_s, pause_s = None, 0.0, FIRST_POLL_S
        while not self._created():
            if (now := _read(self.path)) is None:
                continue
            lives = _lives(now)
            if lives is False or (now == seen and unchanged_s >= DURATION_S):
                self._end(now)
                continue
            if not patient and (lives or now != (seen or now)):
                return False
            if seen is None:
                waits()
            unchanged_s = unchanged_s + pause_s if now == seen else 0.0
            time.sleep(pause_s)
            seen, pause_s = now, min(2 * pause_s, POLL_S)
        return True

    def release(self) -> None:
        """Give it back; nothing where another has taken it over."""
        self._ends.set()
        self._beating.join()
        with suppress(OSError):
            if self._is_there():
                self.path.unlink()
        os.close(self._file)

    def __enter__(self) -> Lease:
        if self._file < 0:
            self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _created(self) -> bool:
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            return False
        self._write(0)
        self._beating.start()
        return True

    def _beat(self) -> None:
        n = 0
        while not self._ends.wait(DURATION_S / BEATS):
            n += 1
            self._write(n)

    def _write(self, n: int) -> None:
        """On a full disk or one that is gone it may run out, which costs time alone."""
        with suppress(OSError):
            os.pwrite(self._file, f"{self._owner} {n:020d}\n".encode(), 0)
            if n:
                os.fsync(self._file)

    def _is_there(self) -> bool:
        return os.path.samestat(self.path.stat(), os.fstat(self._file))

    def _end(self, seen: bytes) -> None:
        """Remove a lease that has run out; one of several that try succeeds."""
        aside = self.path.with_name(f"{self.path.name}-{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):
            self.path.rename(aside)
            if aside.read_bytes() != seen:  # another was quicker: this is its lease
                with suppress(FileExistsError):
                    os.link(aside, self.path)
            aside.unlink()


def is_believed(lease: BinaryIO, now: Path) -> bool:
    """Whether the owner of a lease lives, as far as one look at its file tells; `now` is a new one of the same disk.

    That of another machine is believed for longer than by whoever waits: what a disk says of times may be old.
    """
    if (lives := _lives(lease.readline())) is not None:
        return lives
    return now.stat().st_mtime - os.fstat(lease.fileno()).st_mtime < 3 * DURATION_S


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _lives(lease: bytes) -> bool | None:
    """Whether its owner is a process that has not ended; None where that is of another machine."""
    machine, _, rest = lease.decode(errors="replace").partition(" ")
    if machine != _machine():
        return None
    try:
        return bool(psutil.Process(int(rest.partition(" ")[0])).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@cache
def _machine() -> str:
    """This machine since it was started, as far as its process ids reach: containers may share the name of a host."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return f"{socket.gethostname()}/{uuid.getnode():x}"
