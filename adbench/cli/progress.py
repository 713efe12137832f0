"""Progress on stderr with the time left: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from adbench.results import formats

EVERY_S = 30.0
"""In a log, a line at the latest after this many seconds of progress."""
APART_S = 3.0
"""In a log, no two lines of one task nearer than this: quick tasks show their start and end only."""


def reporter() -> BarReporter | LineReporter:
    """The reporter that suits stderr; a context manager around the work."""
    return BarReporter() if sys.stderr.isatty() else LineReporter(sys.stderr)


class BarReporter:
    """One bar for each task that is under way."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True, markup=False, highlight=False, emoji=False),
            transient=True,
            speed_estimate_period=24 * 3600,  # cells may take hours
        )
        self._tasks: dict[str, TaskID] = {}

    def message(self, text: str) -> None:
        self._bars.console.print(text, soft_wrap=True)

    def progress(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, completed=done)
        self._bars.update(self._tasks[what], completed=done, total=total)
        if done >= total:
            task = self._tasks.pop(what)
            elapsed = self._bars.tasks[self._bars.task_ids.index(task)].elapsed
            self._bars.remove_task(task)
            self.message(f"{what}: done in {formats.duration(elapsed)}")

    def __enter__(self) -> BarReporter:
        self._bars.start()
        return self

    def __exit__(
        self, exception: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


@dataclass
class _Pace:
    """When a task started (with what already done) and what was last said about it."""

    began_s: float
    began_at: int
    said_s: float
    said_tenth: int
    moved_s: float
    moved_to: int
    """When what is done last grew, and to what: cells of a grid take long."""

    def left_s(self, now: float, total: int) -> float | None:
        """Seconds left at the pace so far; None before anything was done."""
        if self.moved_to == self.began_at:
            return None
        pace = (self.moved_s - self.began_s) / (self.moved_to - self.began_at)
        return max(0.0, pace * (total - self.moved_to) - (now - self.moved_s))


class LineReporter:
    """Plain lines, at each tenth or every half minute."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._tasks: dict[str, _Pace] = {}

    def message(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def progress(self, what: str, done: int, total: int) -> None:
        now, tenth = self._clock(), 10 * done // max(total, 1)
        task = self._tasks.setdefault(what, _Pace(now, done, now, tenth, now, done))
        if done > task.moved_to:
            task.moved_s, task.moved_to = now, done
        if done >= total:
            self.message(f"{what}: {done}/{total}, done in {formats.duration(now - task.began_s)}")
            del self._tasks[what]
            return
        silent_s = now - task.said_s
        if silent_s >= EVERY_S or (silent_s >= APART_S and tenth > task.said_tenth):
            left = task.left_s(now, total)
            time_left = "time left unknown" if left is None else f"{formats.duration(left)} left"
            self.message(f"{what}: {done}/{total} ({100 * done // total} %), {time_left}")
            task.said_s, task.said_tenth = now, tenth

    def __enter__(self) -> LineReporter:
        return self

    def __exit__(
        self, exception: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put back."""
