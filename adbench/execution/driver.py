"""The driver of a suite: gives jobs to an executor, notes how they end, and says what is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain

from adbench.execution.executor import AT_ONCE, PATIENCE_S, Executor, Submitted, Task
from adbench.execution.job import Folders
from adbench.execution.ledger import Entry, Ledger
from adbench.execution.planning import PlannedJob
from adbench.execution.suite import Limits
from adbench.training.interruption import deferred

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

        Jobs that another driver runs are left to it. Raises KeyboardInterrupt after its tasks have been ended (a
        second Ctrl-C ends them at once), and SuiteError where a job cannot be run here at all.
        """
        before = self.ledger.entries()
        waiting = {self._key(each): each for each in planned if each.status == "to do"}
        waiting = {key: each for key, each in waiting.items() if key not in before or before[key].status != "failed"}
        with self._living(), deferred() as interrupted:
            self._note_done(planned, before)
            try:
                while waiting or self._running:
                    self._collect()
                    self._begin({key: waiting.pop(key) for key in self._ready(waiting)}, before)
                    self._pause(interrupted)
            except BaseException:
                self._stop_all()
                raise
        return self._ends

    def _note_done(self, planned: Sequence[PlannedJob], before: Mapping[str, Entry]) -> None:
        """Note the jobs that ended well after their driver was gone."""
        for each in planned:
            entry = before.get(self._key(each)) if each.status == "done" else None
            if entry and entry.status != "done" and not self.ledger.lives(entry.driver):
                self.ledger.write(
                    entry.model_copy(update={"status": "done", "driver": self.ledger.driver, "reason": ""})
                )

    def _key(self, planned: PlannedJob) -> str:
        return planned.job.key(self.folders)

    def _task(self, key: str, planned: PlannedJob) -> Task:
        arguments = planned.own.arguments(self.folders, self.device)
        return Task(planned.job.name, arguments, self.ledger.log(key), self.limits.hours, self.limits.memory_gb)

    def _ready(self, waiting: dict[str, PlannedJob]) -> list[str]:
        """Jobs that can begin now, in their order; the claim of each is taken. Those of other drivers are dropped."""
        making = {part for work in self._running.values() for part in work.planned.to_make} - self._made
        ready: list[str] = []
        others: list[str] = []
        for key, planned in waiting.items():
            if making & planned.to_make.keys():
                continue
            if len(ready) == AT_ONCE or not self.executor.takes(self._task(key, planned), len(ready)):
                break
            if self.ledger.claim(key):
                making |= planned.to_make.keys() - self._made
                ready.append(key)
            else:
                self.say(f"{planned.job.name}: another driver runs it")
                others.append(key)
        for key in others:
            del waiting[key]
        return ready

    def _begin(self, jobs: Mapping[str, PlannedJob], before: Mapping[str, Entry]) -> None:
        """Submit jobs that are claimed, or go on with what a driver that is gone has submitted."""
        tasks = {key: self._task(key, planned) for key, planned in jobs.items()}
        begun = {key: each for key, task in tasks.items() if (each := self._submitted_before(task, before.get(key)))}
        new = [key for key in jobs if key not in begun]
        submitted = self.executor.submit([tasks[key] for key in new]) if new else ()
        for key, each in chain(begun.items(), zip(new, submitted, strict=True)):
            attempt = before[key].attempt + 1 if key in before else 1
            self._running[key] = _Work(jobs[key], tasks[key], each, attempt)
            self._note(key, "running", place=each.place, id=each.id)
            self.say(f"{jobs[key].job.name}: {'found again' if key in begun else 'begun'}, {each.place}")

    def _submitted_before(self, task: Task, before: Entry | None) -> Submitted | None:
        if before is None or before.status != "running" or not before.id:
            return None
        return self.executor.find(task, before.id)

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
                self.executor.stop([work.submitted for work in self._running.values()], now=not patient)
                for key, work in list(self._running.items()):
                    if (why := self.executor.ended(work.submitted)) is not None:
                        self._note(key, "stopped" if why else "done")
                        del self._running[key]
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            self.executor.stop([work.submitted for work in self._running.values()], now=True)
            raise

    def _note(self, key: str, status: str, **more: str) -> None:
        attempt = self._running[key].attempt
        self.ledger.write(
            Entry.model_validate(
                {"job": key, "status": status, "attempt": attempt, "driver": self.ledger.driver, **more}
            )
        )

    def _pause(self, interrupted: Callable[[], bool]) -> None:
        self.ledger.beat()
        if self.ledger.asked_to_stop or interrupted():
            raise KeyboardInterrupt
        time.sleep(POLL_S)

    @contextmanager
    def _living(self) -> Iterator[None]:
        self.ledger.beat()
        try:
            yield
        finally:
            self.ledger.close()
