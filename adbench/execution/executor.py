"""What an executor does: take a job, say whether it has ended, and end it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Engine = Literal["local", "slurm", "ray"]
GB = 1e9

PATIENCE_S = 60.0
"""How long tasks that are asked to end get for it."""


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


class Executor(Protocol):
    """Runs tasks somewhere."""

    def takes(self, task: Task) -> bool:
        """Whether there is room for one more now. Raises SuiteError where there never will be."""
        ...

    def submit(self, task: Task) -> Submitted: ...

    def ended(self, submitted: Submitted) -> str | None:
        """Empty where it ended well, the reason where it did not; None while it runs."""
        ...

    def stop(self, submitted: Submitted, now: bool) -> None:
        """Ask a task to end at its next step, or `now`; `ended` says when it has."""
        ...
