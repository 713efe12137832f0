"""Tasks as jobs of SLURM, by submitit: queued there, requeued where their time is over or others go first."""

from __future__ import annotations

import math
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import submitit
from submitit.core.utils import DelayedSubmission, FailedSubmissionError, UncompletedJobError

from adbench.errors import SuiteError
from adbench.execution import process
from adbench.execution.executor import AT_ONCE, Submitted, Task

REQUEUED = 20
"""Times that the limit of hours may end a job that then goes on from its last checkpoint."""
ARRIVES_S = 15.0
"""How long a result may take from the node that wrote it to here."""


class Command:
    """`adbench ARGUMENTS` within a job; submitit asks it for what is left when the job must make room."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self.arguments, self.log = list(arguments), log
        self._process: psutil.Popen | None = None

    def __call__(self) -> int:
        """Return the exit code."""
        # SLURM says SIGTERM to all processes of a job: the command, which would not save, inherits that it is ignored
        ends = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            self._process = process.begin(self.arguments, self.log)
            signal.signal(signal.SIGTERM, self._end)
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


@dataclass
class _Queued:
    job: submitit.Job[int]
    task: Task
    asked: bool = False
    """To end."""
    over_since: float | None = None
    """When SLURM first said so of a job without a result, by the monotonic clock."""


class SlurmExecutor:
    """Gives SLURM as many tasks at once as are ready, together as one array; when they begin is up to it."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], most: int | None, cluster: str = "slurm") -> None:
        """
        folder: of submitit, on a disk that all nodes see.
        settings: of `sbatch` as submitit names them: partition, account, gpus_per_node, cpus_per_task, setup, ...
        most: jobs in the queue at once; None: all that are ready.

        Raises:
            SuiteError: there is no SLURM, no such setting, or the folder cannot be written.
        """
        self._folder, self._most, self._queued = folder, most, 0
        if taken := sorted({"time", "mem", "job_name"} & settings.keys()):
            raise SuiteError(f"Time and memory of SLURM jobs are those of [limits], but [slurm] has {taken[0]} too.")
        given = {"array_parallelism": AT_ONCE, **settings}
        try:
            self._executor = submitit.AutoExecutor(folder, cluster, slurm_max_num_timeout=REQUEUED)
            self._executor.update_parameters(**{f"slurm_{name}": value for name, value in given.items()})
        except RuntimeError as error:
            raise SuiteError(f"SLURM must be at hand where a suite is run on it, but {error}") from error
        except OSError as error:
            raise self._unwritable(error) from error
        except (NameError, ValueError, AssertionError) as error:
            said = str(error).splitlines()[0]
            raise SuiteError(f"[slurm] takes the parameters of submitit's SlurmExecutor, but {said}") from error

    def takes(self, task: Task, beside: int = 0) -> bool:
        if task.hours is None:
            raise SuiteError("SLURM needs to know how long a job may take: set hours in [limits] of the suite.")
        return self._most is None or self._queued + beside < self._most

    def submit(self, tasks: Sequence[Task]) -> Iterator[Submitted]:
        """Raises SuiteError where SLURM refuses the jobs, or they cannot be written."""
        first, name = tasks[0], tasks[0].name if len(tasks) == 1 else "adbench"
        timeout_min = math.ceil(60 * (first.hours or 0))
        self._executor.update_parameters(name=name, timeout_min=timeout_min, mem_gb=first.memory_gb)
        try:
            jobs = self._executor.submit_array([Command(task.arguments, task.log) for task in tasks])
        except (FailedSubmissionError, UncompletedJobError) as error:
            raise SuiteError(f"SLURM does not take {name}: {error}") from error
        except OSError as error:
            raise self._unwritable(error) from error
        return map(self._taken, jobs, tasks)

    def _unwritable(self, error: OSError) -> SuiteError:
        return SuiteError(
            f"SLURM gets its jobs by files, but {self._folder.parent} cannot be written ({error.strerror}). "
            "Free some space, or name another cache with --cache."
        )

    def find(self, task: Task, id: str) -> Submitted | None:
        job: submitit.Job[int] = submitit.SlurmJob(self._folder, id)
        waits = id in self._in_queue or job.paths.result_pickle.exists()
        return self._taken(job, task) if waits else None

    @cached_property
    def _in_queue(self) -> set[str]:
        """Ids of this user's jobs, those of arrays one by one."""
        command = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
        return set(subprocess.run(command, capture_output=True, text=True, check=False).stdout.split())

    def _taken(self, job: submitit.Job[int], task: Task) -> Submitted:
        self._queued += 1
        return Submitted(_Queued(job, task), f"SLURM job {job.job_id}", id=job.job_id)

    def ended(self, submitted: Submitted) -> str | None:
        queued: _Queued = submitted.handle
        job = queued.job
        if not job.done() or self._may_arrive(queued):
            return None
        self._queued -= 1
        if job.paths.result_pickle.exists():
            with suppress(UncompletedJobError):
                return process.reason(queued.task.log, job.result())
        return f"SLURM says {job.state}; see {job.paths.stderr}"

    def _may_arrive(self, queued: _Queued) -> bool:
        """Whether the result of a job that is over may not be seen here yet; submitit would sleep until it is."""
        if queued.asked or queued.job.paths.result_pickle.exists():
            return False
        queued.over_since = queued.over_since or time.monotonic()
        return time.monotonic() - queued.over_since < ARRIVES_S

    def stop(self, submitted: Sequence[Submitted], now: bool) -> None:
        """Cancel jobs; SLURM itself kills those that take long to end."""
        new: list[_Queued] = [each.handle for each in submitted if not each.handle.asked]
        if not new:
            return
        subprocess.call(["scancel", *(each.job.job_id for each in new)])
        for each in new:
            each.asked = True
            each.job.watcher.clear()  # which asks SLURM the less often the longer ago the last job was submitted
