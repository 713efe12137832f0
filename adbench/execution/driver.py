"""The driver of a suite: gives jobs to an executor, notes how they end, and says what is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from adbench.execution.executor import PATIENCE_S, Executor, Submitted, Task
from adbench.execution.job import Folders
from adbench.execution.ledger import Entry, Ledger
from adbench.execution.planning import PlannedJob
from adbench.execution.suite import Limits

POLL_S = 0.5


@dataclass(frozen=True)
class _Work:
    planned: PlannedJob
    task: Task
    submitted: Submitted
    attempt: int


@dataclass
class Driver:
    """Carries out planned jobs, those that share a part that is to be made one after the other."""

    executor: Executor
    ledger: Ledger
    folders: Folders
    limits: Limits
    device: str
    say: Callable[[str], None]
    _running: dict[str, _Work] = field(default_factory=dict)
    _ends: dict[str, str] = field(default_factory=dict)
    _made: set[str] = field(default_factory=set)
    """Keys of parts that jobs have made meanwhile."""

    def run(self, planned: Sequence[PlannedJob]) -> dict[str, str]:
        """Run what is to do and has not failed before; key -> reason of every job that failed, empty for the others.

        Jobs that another driver runs are left to it. Raises KeyboardInterrupt after its tasks have been ended, and
        SuiteError where a job cannot be run here at all.
        """
        before = self.ledger.entries()
        waiting = {self._key(each): each for each in planned if each.status == "to do"}
        waiting = {key: each for key, each in waiting.items() if key not in before or before[key].status != "failed"}
        with self._living():
            try:
                while waiting or self._running:
                    self._collect()
                    for key in self._ready(waiting):
                        attempt = before[key].attempt + 1 if key in before else 1
                        self._begin(key, waiting.pop(key), attempt)
                    self._pause()
            except BaseException:
                self._stop_all()
                raise
        return self._ends

    def _key(self, planned: PlannedJob) -> str:
        return planned.job.key(self.folders.out)

    def _task(self, key: str, planned: PlannedJob) -> Task:
        arguments = planned.own.arguments(self.folders, self.device)
        return Task(planned.job.name, arguments, self.ledger.log(key), self.limits.hours, self.limits.memory_gb)

    def _ready(self, waiting: dict[str, PlannedJob]) -> Iterator[str]:
        """Jobs that can begin now, in their order; the claim of each is taken. Those of other drivers are dropped."""
        for key, planned in list(waiting.items()):
            if not self.executor.takes(self._task(key, planned)):
                return
            making = {part for work in self._running.values() for part in work.planned.to_make} - self._made
            if making & planned.to_make.keys():
                continue
            if self.ledger.claim(key):
                yield key
            else:
                self.say(f"{planned.job.name}: another driver runs it")
                del waiting[key]

    def _begin(self, key: str, planned: PlannedJob, attempt: int) -> None:
        task = self._task(key, planned)
        submitted = self.executor.submit(task)
        self._running[key] = _Work(planned, task, submitted, attempt)
        self._note(key, "running", place=submitted.place)
        self.say(f"{planned.job.name}: begun, {submitted.place}")

    def _collect(self) -> None:
        """Note the jobs that have ended."""
        for key, work in list(self._running.items()):
            if (why := self.executor.ended(work.submitted)) is None:
                continue
            self._note(key, "failed" if why else "done", reason=why)
            self.say(f"{work.task.name}: {f'{why} ({work.task.log})' if why else 'done'}")
            self._ends[key] = why
            if not why:
                self._made |= work.planned.to_make.keys()
            del self._running[key]

    def _stop_all(self) -> None:
        """Ask all tasks to end, wait for them, and end those that do not."""
        began = time.monotonic()
        try:
            while self._running:
                self.ledger.beat()
                patient = time.monotonic() - began < PATIENCE_S
                for key, work in list(self._running.items()):
                    self.executor.stop(work.submitted, now=not patient)
                    if self.executor.ended(work.submitted) is not None:
                        self._note(key, "stopped")
                        del self._running[key]
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            for work in self._running.values():
                self.executor.stop(work.submitted, now=True)
            raise

    def _note(self, key: str, status: str, **more: str) -> None:
        attempt = self._running[key].attempt
        self.ledger.write(
            Entry.model_validate(
                {"job": key, "status": status, "attempt": attempt, "driver": self.ledger.driver, **more}
            )
        )

    def _pause(self) -> None:
        self.ledger.beat()
        if self.ledger.asked_to_stop:
            raise KeyboardInterrupt
        time.sleep(POLL_S)

    @contextmanager
    def _living(self) -> Iterator[None]:
        self.ledger.beat()
        try:
            yield
        finally:
            self.ledger.close()
