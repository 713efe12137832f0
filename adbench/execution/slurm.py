"""Tasks as jobs of SLURM, by submitit: queued there, requeued where their time is over or others go first."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import submitit
from submitit.core.utils import DelayedSubmission, FailedSubmissionError, UncompletedJobError

from adbench.errors import SuiteError
from adbench.execution import process
from adbench.execution.executor import Submitted, Task

REQUEUED = 20
"""Times that the limit of hours may end a job that then goes on from its last checkpoint."""


class Command:
    """`adbench ARGUMENTS` within a job; submitit asks it for what is left when the job must make room."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self.arguments, self.log = list(arguments), log
        self._process: psutil.Popen | None = None

    def __call__(self) -> int:
        """Return the exit code."""
        ends = signal.signal(signal.SIGTERM, self._end)
        try:
            self._process = process.begin(self.arguments, self.log)
            return int(self._process.wait())
        finally:
            self._stop()
            signal.signal(signal.SIGTERM, ends)

    def checkpoint(self) -> DelayedSubmission:
        """End the command at its next step and return the same one, which goes on from there."""
        self._stop()
        return DelayedSubmission(Command(self.arguments, self.log))

    def _stop(self) -> None:
        if self._process is not None:
            process.stop(self._process)
            self._process.wait()

    def _end(self, *_: object) -> None:
        """On `scancel`, and where SLURM makes room without notice: no result is written, and it may requeue."""
        self._stop()
        raise SystemExit(128 + signal.SIGTERM)


class SlurmExecutor:
    """Gives SLURM as many tasks at once as are ready; when they begin is up to it."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], most: int | None, cluster: str = "slurm") -> None:
        """
        folder: of submitit, on a disk that all nodes see.
        settings: of `sbatch` as submitit names them: partition, account, gpus_per_node, cpus_per_task, setup, ...
        most: jobs in the queue at once; None: all that are ready.

        Raises:
            SuiteError: there is no SLURM, or no such setting.
        """
        self._most, self._queued = most, 0
        if taken := sorted({"time", "mem", "job_name"} & settings.keys()):
            raise SuiteError(f"Time and memory of SLURM jobs are those of [limits], but [slurm] has {taken[0]} too.")
        try:
            self._executor = submitit.AutoExecutor(folder, cluster, slurm_max_num_timeout=REQUEUED)
            self._executor.update_parameters(**{f"slurm_{name}": value for name, value in settings.items()})
        except RuntimeError as error:
            raise SuiteError(f"SLURM must be at hand where a suite is run on it, but {error}") from error
        except (NameError, ValueError, AssertionError) as error:
            said = str(error).splitlines()[0]
            raise SuiteError(f"[slurm] takes the parameters of submitit's SlurmExecutor, but {said}") from error

    def takes(self, task: Task) -> bool:
        if task.hours is None:
            raise SuiteError("SLURM needs to know how long a job may take: set hours in [limits] of the suite.")
        return self._most is None or self._queued < self._most

    def submit(self, task: Task) -> Submitted:
        """Raises SuiteError where SLURM refuses the job."""
        limits = {"name": task.name, "timeout_min": math.ceil(60 * (task.hours or 0)), "mem_gb": task.memory_gb}
        self._executor.update_parameters(**limits)
        try:
            job = self._executor.submit(Command(task.arguments, task.log))
        except (FailedSubmissionError, UncompletedJobError) as error:
            raise SuiteError(f"SLURM does not take {task.name}: {error}") from error
        self._queued += 1
        return Submitted((job, task), f"SLURM job {job.job_id}")

    def ended(self, submitted: Submitted) -> str | None:
        job, task = submitted.handle
        if not job.done():
            return None
        self._queued -= 1
        try:
            return process.reason(task.log, job.result())
        except UncompletedJobError:
            return f"SLURM says {job.state}; see {job.paths.stderr}"

    def stop(self, submitted: Submitted, now: bool) -> None:
        submitted.handle[0].cancel(check=False)
