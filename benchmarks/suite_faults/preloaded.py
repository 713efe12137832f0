"""Jobs of a cluster as forks of a process that has imported all that they need, which takes ten times what they do.

`python -m adbench run` of a cluster stays what its executor begins, signals, waits for and kills, but lets a fork do
the work: the fork hears its SIGINT, ends with it, and gives it its exit code or signal.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

CarryOut = Callable[[Sequence[str], Sequence[int]], NoReturn]
VARIABLE = "ADBENCH_FAULTS_SOCKET"
"""Of the environment: where the process listens."""
LOOK_S = 0.02
MESSAGE_BYTES = 2**20


@contextmanager
def preloaded(folder: Path, carry_out: CarryOut) -> Iterator[None]:
    """A fork of this process listens in a folder for jobs, until the end; further forks carry them out."""
    path = folder / "jobs.socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(path))
        listening.listen(64)
        if not (server := os.fork()):
            _serve(listening, carry_out)
    os.environ[VARIABLE] = str(path)
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)


def _serve(listening: socket.socket, carry_out: CarryOut) -> NoReturn:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that keep jobs
    while True:
        connection, _ = listening.accept()
        if not os.fork():
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _keep(connection, carry_out)
        connection.close()


def _keep(connection: socket.socket, carry_out: CarryOut) -> NoReturn:
    """Begin a job, and end it where who asked for it is gone."""
    message, streams, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 2)
    asked = json.loads(message)
    if not (job := os.fork()):
        connection.close()
        os.environ.clear()
        os.environ.update(asked["environment"])
        if asked["ignores_sigterm"]:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        carry_out(asked["arguments"], streams)
    connection.send(str(job).encode())
    while not (ended := os.waitpid(job, os.WNOHANG))[0]:
        if select.select([connection], [], [], LOOK_S)[0]:  # it says nothing more: it is gone
            os.kill(job, signal.SIGKILL)
            os.waitpid(job, 0)
            os._exit(0)
    with suppress(OSError):
        connection.send(str(os.waitstatus_to_exitcode(ended[1])).encode())
    os._exit(0)


def run_there(arguments: Sequence[str]) -> NoReturn:
    """In the process of a job: let a fork do it, and end as that does."""
    code = 1
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(os.environ[VARIABLE])
            asked = {
                "arguments": list(arguments),
                "environment": dict(os.environ),
                "ignores_sigterm": signal.getsignal(signal.SIGTERM) == signal.SIG_IGN,
            }
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            socket.send_fds(connection, [json.dumps(asked).encode()], [1, 2])
            job = int(connection.recv(MESSAGE_BYTES))
            signal.signal(signal.SIGINT, lambda *_: _interrupt(job))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            code = int(connection.recv(MESSAGE_BYTES) or 1)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        if code < 0:
            os.kill(os.getpid(), -code)
            signal.pause()
        os._exit(code)


def _interrupt(job: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(job, signal.SIGINT)
