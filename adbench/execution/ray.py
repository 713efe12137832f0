"""Tasks as tasks of Ray, on a cluster that is there or on one of this machine."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from adbench.config.urls import shown, shown_text
from adbench.errors import SuiteError
from adbench.execution import process
from adbench.execution.executor import GB, PATIENCE_S, Submitted, Task

POLL_S = 0.2


def carry_out(arguments: Sequence[str], log: Path, hours: float | None) -> str:
    """On a worker: run `adbench ARGUMENTS`, and return why it failed, or nothing.

    `ray.cancel` asks it to end at its next step; a second one ends it now. A worker hears that by its handler of
    SIGINT, which it has none of where Ray was begun in the background of a script.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    begun, child, asked = time.monotonic(), process.begin(arguments, log), False
    until = begun + hours * 3600 if hours else float("inf")
    while True:
        try:
            while (code := child.poll()) is None:
                late = time.monotonic() - until
                if late > 0 and (not asked or late > PATIENCE_S):
                    process.stop(child, now=asked)
                    asked = True
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            process.stop(child, now=asked)
            asked = True
            continue
        if code and time.monotonic() > until:
            return f"ended after {hours:g} hours; it goes on where it was"
        return process.reason(log, code)


class RayExecutor:
    """Gives Ray as many tasks at once as are ready; where and when they begin is up to it."""

    def __init__(self, settings: Mapping[str, Any], workers: int | None, address: str | None) -> None:
        """
        settings: of each task, as `ray.remote` names them: num_cpus, num_gpus, resources, ...
        workers: tasks that a cluster of this machine has room for; at an `address`, most at once.

        Raises:
            SuiteError: there is no cluster at the address, or no such setting.
        """
        self._most, self._queued, self._settings = workers, 0, dict(settings)
        try:
            self._task = ray.remote(carry_out)
            self._task.options(**self._settings)
        except (ValueError, TypeError) as error:
            raise SuiteError(f"[ray] takes the options of ray.remote, but {error}") from error
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send them
        own = {"num_cpus": (workers or 1) * self._settings.get("num_cpus", 1), "include_dashboard": False}
        try:
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else own))
        except (ConnectionError, RayError, RuntimeError, ValueError) as error:
            where = f"at {shown(address)}" if address else "on this machine"
            cause = shown_text(str(error))
            raise SuiteError(f"Ray runs the jobs of a cluster, but none can be reached {where}: {cause}") from error

    def takes(self, task: Task, beside: int = 0) -> bool:
        return self._most is None or self._queued + beside < self._most

    def submit(self, tasks: Sequence[Task]) -> Iterator[Submitted]:
        return map(self._begin, tasks)

    def find(self, task: Task, id: str) -> Submitted | None:
        return None

    def _begin(self, task: Task) -> Submitted:
        memory = {"memory": int(task.memory_gb * GB)} if task.memory_gb else {}
        reference = self._task.options(**{**self._settings, **memory, "name": task.name}).remote(
            task.arguments, task.log, task.hours
        )
        self._queued += 1
        return Submitted(reference, f"Ray task {reference.task_id().hex()[:12]}")

    def ended(self, submitted: Submitted) -> str | None:
        if not ray.wait([submitted.handle], timeout=0)[0]:
            return None
        self._queued -= 1
        try:
            return str(ray.get(submitted.handle))
        except RayError as error:
            return f"Ray says {type(error).__name__}: {str(error).splitlines()[0]}"

    def stop(self, submitted: Sequence[Submitted], now: bool) -> None:
        for each in submitted:
            ray.cancel(each.handle)
