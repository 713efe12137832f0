"""What an executor does: take jobs, say whether one has ended, and end them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Engine = Literal["local", "slurm", "ray"]
GB = 1e9

PATIENCE_S = 60.0
"""How long tasks that are asked to end get for it."""
AT_ONCE = 1000
"""Most tasks that are submitted together: what SLURM takes as one array where nobody has set another limit."""


@dataclass(frozen=True)
class Task:
    """A job as an executor sees it."""

    name: str
    arguments: list[str]
    """Of the command `adbench`."""
    log: Path
    """Where what it says goes, after what earlier attempts said."""
    hours: float | None
    memory_gb: float | None


@dataclass(frozen=True)
class Submitted:
    """A task that an executor has taken."""

    handle: Any
    place: str
    """Where it runs, in words."""
    id: str = ""
    """By which another driver finds it again; empty where none can."""


class Executor(Protocol):
    """Runs tasks somewhere."""

    def takes(self, task: Task, beside: int = 0) -> bool:
        """Whether there is room for one more now, `beside` as many like it that are about to be submitted.

        Raises SuiteError where there never will be.
        """
        ...

    def submit(self, tasks: Sequence[Task]) -> Iterator[Submitted]:
        """Submit at most `AT_ONCE` tasks of the same limits."""
        ...

    def find(self, task: Task, id: str) -> Submitted | None:
        """The task that a driver which is gone has submitted, where it still waits, runs, or has left its result."""
        ...

    def ended(self, submitted: Submitted) -> str | None:
        """Empty where it ended well, the reason where it did not; None while it runs."""
        ...

    def stop(self, submitted: Sequence[Submitted], now: bool) -> None:
        """Ask tasks to end at their next step, or `now`; `ended` says when one has."""
        ...
