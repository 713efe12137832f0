"""A task as a process of its own: how it is begun, asked to end, and why it failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

COMMAND = ("-m", "adbench")
TOLD = {2: "the command cannot be carried out", 130: "interrupted"}


def begin(
    arguments: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> psutil.Popen:
    """Begin `adbench ARGUMENTS`; what it says goes to the end of the log.

    It has a session of its own: Ctrl-C reaches who began it alone, who asks it to end. Its `wait` may be called by a
    handler of signals that interrupts another one, unlike that of `subprocess`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return psutil.Popen(
            [sys.executable, *COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=_hear,
        )


def _hear() -> None:
    """Hear SIGINT, by which `stop` asks, though who began it does not: in the background of a script, or in Ray.

    SIGUSR2 is SLURM's notice, to all processes of a job: one that knows what it means asks this one.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def stop(process: psutil.Popen, now: bool = False) -> None:
    """Ask a process to end at its next step, or end it and its children now."""
    with suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL if now else signal.SIGINT)


def reason(log: Path, code: int) -> str:
    """Why a task ended: empty for the exit code 0, else the line of its log that says so."""
    if code == 0:
        return ""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = log.read_text("utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith(("error: ", "failed: "))]
    return said[-1] if said else (lines[-1] if lines else TOLD.get(code, f"exit code {code}"))
