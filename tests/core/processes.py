"""The command line in processes of its own, which can be stopped and killed at a chosen moment.

Processes fork from a server that has imported the heavy libraries once: each starts in a moment.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import float32_only  # noqa: F401  for all that fork

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *("adbench.cli.app", "adbench.protocol.harness", "adbench.results.pages", "adbench_baselines.ddpm"),
        *("adbench_datasets.phantom", "monai.networks.nets.diffusion_model_unet", "monai.networks.nets.vqvae"),
        "torch._dynamo",
    ]
)
LIMIT_S = 120


@dataclass(frozen=True)
class Moment:
    """When a process acts on itself: at its progress `done` of `what`, or at its n-th renaming of a file."""

    what: str = ""
    done: int = 0
    rename: int = 0
    of: str = ""
    """Counts renamings to names that hold it."""
    after: bool = False
    """For renamings: just after, not just before."""
    wait_for: Path | None = None
    """Wait until this file exists; without one, die by SIGKILL."""

    def act(self) -> None:
        if self.wait_for is None:
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            until(self.wait_for.exists)


def until(true: Callable[[], bool]) -> None:
    """Wait for something to become true; an AssertionError where it does not."""
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class Process:
    """`adbench ARGUMENTS`, its streams in files."""

    def __init__(self, folder: Path, arguments: list[str], moment: Moment | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "stdout", folder / "stderr"
        for stream in (self._out, self._err):
            stream.write_text("")
        given = (arguments, moment, str(self._out), str(self._err))
        self.process = CONTEXT.Process(target=_command, args=given, daemon=True)
        self.process.start()

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    def says(self, text: str) -> bool:
        assert self.process.is_alive() or text in self.err, f"ended without saying {text!r}: {self.err}"
        return text in self.err

    def interrupt(self) -> None:
        os.kill(self.process.pid, signal.SIGINT)  # as Ctrl-C does

    def end(self) -> int:
        """Wait for the end and return the exit code, negative for a signal."""
        self.process.join(LIMIT_S)
        assert self.process.exitcode is not None, f"hangs: {self.err}"
        return self.process.exitcode

    def steps(self, what: str) -> list[int]:
        """The progress that was reported of a task, in order."""
        words = [line.removeprefix("progress: ").rsplit(" ", 1) for line in self.err.splitlines()]
        return [int(word[1]) for word in words if word[0] == what]


def run(folder: Path, arguments: list[str], moment: Moment | None = None) -> Process:
    """Run to the end, whatever that is."""
    process = Process(folder, arguments, moment)
    process.end()
    return process


def _command(arguments: list[str], moment: Moment | None, out: str, err: str) -> None:
    """In the process: run the command line, acting at the moment."""
    for stream, name in ((sys.stdout, out), (sys.stderr, err)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), stream.fileno())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    import torch

    from adbench.cli import app, progress
    from adbench.training import loop

    torch.set_num_threads(1)
    # every look at the clock is a minute later than the one before: a checkpoint after every step
    minutes: Any = SimpleNamespace(monotonic=itertools.count(0.0, 61.0).__next__)
    loop.time = minutes
    progress.reporter = lambda: contextlib.nullcontext(_Reporter(moment))  # type: ignore[assignment, return-value]
    if moment and moment.rename:
        _watch_renames(moment)
    sys.argv = ["adbench", *arguments]
    app.main()


class _Reporter:
    def __init__(self, moment: Moment | None) -> None:
        self._moment = moment

    def message(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def progress(self, what: str, done: int, total: int) -> None:
        print(f"progress: {what} {done}", file=sys.stderr, flush=True)
        if self._moment and (what, done) == (self._moment.what, self._moment.done):
            self._moment.act()


def _watch_renames(moment: Moment) -> None:
    rename, count = os.replace, itertools.count(1)

    def replace(source: Any, target: Any) -> None:
        due = moment.of in str(target) and next(count) == moment.rename
        if due and not moment.after:
            moment.act()
        rename(source, target)
        if due:
            moment.act()

    os.replace = replace  # type: ignore[assignment]
