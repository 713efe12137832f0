"""Tasks as processes of this machine: one a GPU, or a share of the cores."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import psutil

from adbench.devices.workers import variables_of_worker
from adbench.errors import SuiteError
from adbench.execution import process
from adbench.execution.executor import GB, PATIENCE_S, Submitted, Task


@dataclass
class _Running:
    process: psutil.Popen
    worker: int
    task: Task
    until: float
    asked: bool = False
    """To end."""


class LocalExecutor:
    """Runs as many tasks at once as it has workers, and as their memory allows."""

    def __init__(self, workers: int = 1, gpus: Sequence[str] = ()) -> None:
        """gpus: names or numbers of CUDA devices; workers take turns at them. Raises SuiteError for no worker."""
        if workers < 1:
            raise SuiteError(f"Somebody has to work: --workers must be at least 1, got {workers}.")
        self._workers, self._gpus = max(workers, len(gpus)), list(gpus)
        self._running: list[_Running] = []

    def takes(self, task: Task, beside: int = 0) -> bool:
        if task.memory_gb is not None and task.memory_gb * GB > psutil.virtual_memory().total:
            total = psutil.virtual_memory().total / GB
            raise SuiteError(
                f"A job must fit into memory, but limits.memory_gb is {task.memory_gb:g} and this machine has "
                f"{total:.3g} GB. Lower it, or take another machine."
            )
        if len(self._running) + beside >= self._workers:
            return False
        begins = (task.memory_gb or 0.0) * (beside + 1)
        fits = (sum(each.task.memory_gb or 0.0 for each in self._running) + begins) * GB
        free = begins * GB <= psutil.virtual_memory().available
        return fits <= psutil.virtual_memory().total and (free or not (self._running or beside))

    def submit(self, tasks: Sequence[Task]) -> Iterator[Submitted]:
        return map(self._begin, tasks)

    def find(self, task: Task, id: str) -> Submitted | None:
        return None

    def _begin(self, task: Task) -> Submitted:
        worker = min(set(range(self._workers)) - {each.worker for each in self._running})
        begun = process.begin(task.arguments, task.log, self._environment(worker))
        until = time.monotonic() + (task.hours * 3600 if task.hours else float("inf"))
        running = _Running(begun, worker, task, until)
        self._running.append(running)
        return Submitted(running, f"process {begun.pid}" + (f" on GPU {self._gpu(worker)}" if self._gpus else ""))

    def ended(self, submitted: Submitted) -> str | None:
        running: _Running = submitted.handle
        code = running.process.poll()
        late = time.monotonic() - running.until
        if code is None:
            if late > 0:
                self._stop(running, now=late > PATIENCE_S)
            return None
        self._running.remove(running)
        if code and late > 0:
            return f"ended after {running.task.hours:g} hours; it goes on where it was"
        return process.reason(running.task.log, code)

    def stop(self, submitted: Sequence[Submitted], now: bool) -> None:
        for each in submitted:
            self._stop(each.handle, now)

    def _stop(self, running: _Running, now: bool) -> None:
        if now or not running.asked:
            process.stop(running.process, now)
            running.asked = True  # a second Ctrl-C would cut off what the first one is saving

    def _environment(self, worker: int) -> Mapping[str, str]:
        return variables_of_worker(self._workers, self._gpu(worker) if self._gpus else None)

    def _gpu(self, worker: int) -> str:
        return self._gpus[worker % len(self._gpus)]
