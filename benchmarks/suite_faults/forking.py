"""`adbench` in forks of this process, which has imported all that they need."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil
import striking

from adbench.cli import app
from adbench.storage import leases

HANGS_S = 1800.0
"""A process that takes longer hangs."""
OTHER_HOST = "another-node"
NEW_MOUNTS, NEW_HOST_NAME, NEW_PROCESSES = 0x00020000, 0x04000000, 0x20000000
"""Namespaces, as `unshare` of Linux names them by numbers."""


class Forked:
    """A process as `psutil.Popen` shows one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if found else None
        return self.returncode

    def wait(self) -> int:
        end = time.monotonic() + HANGS_S
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"process {self.pid} hangs")
            time.sleep(0.02)
        return code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


def fork(
    arguments: Sequence[object], log: Path, *_: object, prepare: Callable[[], object] = lambda: None, **__: object
) -> Forked:
    """Stands for `process.begin`: `adbench ARGUMENTS` in a fork of this process, after `prepare`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        if pid := os.fork():
            return Forked(pid)
        carry_out(arguments, [file.fileno()] * 2, prepare)


def carry_out(
    arguments: Sequence[object], streams: Sequence[int], prepare: Callable[[], object] = lambda: None
) -> NoReturn:
    """`adbench ARGUMENTS`, to its end, in this process, which is a fork; what it says goes to two open files."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream, file in enumerate(streams, start=1):
            os.dup2(file, stream)
        words = [str(each) for each in arguments]
        os.chdir(Path(words[words.index("--cache") + 1]).parent)  # by which processes of a trial are found
        prepare()
        striking.arm(words)
        sys.argv = ["adbench", *words]
        app.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def on_another_host() -> None:
    """This process and those that it begins are on a node of another name."""
    _unshare(NEW_HOST_NAME)
    socket.sethostname(OTHER_HOST)


def on_a_node_of_its_own() -> None:
    """The same, and they see no other processes: all end with the first, a fork of this process that goes on."""
    _unshare(NEW_HOST_NAME | NEW_PROCESSES | NEW_MOUNTS)
    socket.sethostname(OTHER_HOST)
    if first := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) & 0xFF)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
    leases._machine.cache_clear()


def _unshare(namespaces: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(namespaces):
        raise OSError(ctypes.get_errno(), "a namespace of its own needs root")


def processes_in(folder: Path) -> list[psutil.Process]:
    """Processes that work in a folder or were told of it, but not this one."""
    return [each for each in psutil.process_iter() if each.pid != os.getpid() and _is_in(each, folder)]


def _is_in(process: psutil.Process, folder: Path) -> bool:
    with suppress(psutil.Error):
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and (Path(process.cwd()).is_relative_to(folder) or str(folder) in " ".join(process.cmdline()))
    return False
