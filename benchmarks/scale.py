"""Plan, follow and drive suites of as many jobs as a large study has; the clock of the driver is not real.

    python benchmarks/scale.py [--jobs 100000] [--quick]

- plan: `adbench suite plan --quick` of 25 methods on `phantom` with as many seeds as it takes, by the planner itself;
- status: `adbench suite status` of the same suite, half of it done;
- drive: the driver itself, with its ledger on this disk, gives 10,000 jobs of 0.5 to 8 hours to 100 workers that only
  let its clock go on. 25 methods of a seed share a part that takes 2 hours, as those on latents share the VQ-VAE.

Seconds are those of the processor, of one thread. Exit code 1 where planning takes 30 s or 1 GB or more, status 2 s or
more, or workers are idle for 5 % of their time.
"""

from __future__ import annotations

import argparse
import heapq
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from adbench.cli import suite as commands
from adbench.config.options import Silent
from adbench.contracts import registry
from adbench.execution import driver, planning
from adbench.execution.driver import Driver
from adbench.execution.executor import Submitted, Task
from adbench.execution.job import Folders, Job
from adbench.execution.ledger import Entry, Ledger
from adbench.execution.planning import PlannedJob
from adbench.execution.suite import Grid, Limits
from adbench.protocol.forecast import CellForecast, PartForecast

PLAN_S, PLAN_BYTES, STATUS_S, IDLE = 30.0, 1e9, 2.0, 0.05
METHODS, WORKERS, DRIVEN = 25, 100, 10_000
HOURS, PART_HOURS = (0.5, 8.0), 2.0


def grid(jobs: int) -> Grid:
    """25 methods with as many seeds as make so many jobs."""
    methods = [entry.name for entry in registry.names(registry.DETECTORS)][:METHODS]
    seeds = range(jobs // METHODS)
    return Grid(methods=tuple(methods), datasets=("phantom",), seeds=tuple(seeds), preset="smoke", precision="float32")


def measure_plan(jobs: Sequence[Job], folders: Folders) -> tuple[float, float]:
    """Seconds, and bytes of the process at most."""
    began = time.process_time()
    planned = planning.plan(jobs, folders, "cpu", Silent())
    seconds = time.process_time() - began
    if wrong := [each.reason for each in planned if each.reason]:
        raise SystemExit(f"a job cannot be planned: {wrong[0]}")
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_status(jobs: Sequence[Job], folders: Folders) -> float:
    """Seconds of `adbench suite status` where half of the jobs are done, a hundred run and a hundred failed."""
    ledger = Ledger(folders.cache)
    for n, job in enumerate(jobs[: len(jobs) // 2 + 200]):
        end = "done" if n < len(jobs) // 2 else "failed" if n % 2 else "running"
        for status in dict.fromkeys(("running", end)):
            note = {"job": job.key(folders), "status": status, "attempt": 1, "driver": ledger.driver}
            ledger.write(Entry.model_validate(note))
    file = folders.out.parent / "suite.toml"
    given = grid(len(jobs))
    file.write_text(
        f"[[grids]]\nmethods = {list(given.methods)}\ndatasets = ['phantom']\nseeds = {list(given.seeds)}\n"
        "preset = 'smoke'\nprecision = 'float32'\n",
        encoding="utf-8",
    )
    began = time.process_time()
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        commands.status(file, folders.out, folders.cache)
    return time.process_time() - began


@dataclass
class Clock:
    """Stands for `time` in the driver: to sleep is to go to the next end of a task, at least."""

    now: float = 0.0
    ends: list[tuple[float, str]] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now = max(self.now + seconds, self.ends[0][0] if self.ends else 0.0)


@dataclass
class Workers:
    """An executor whose tasks take hours of a clock that is not real."""

    clock: Clock
    hours: dict[str, float]
    """Job -> how long it takes."""
    ended_jobs: set[str] = field(default_factory=set)
    busy_s: float = 0.0

    def takes(self, task: Task, beside: int = 0) -> bool:
        return len(self.clock.ends) + beside < WORKERS

    def submit(self, tasks: Sequence[Task]) -> Iterator[Submitted]:
        for task in tasks:
            seconds = 3600 * self.hours[task.name]
            self.busy_s += seconds
            heapq.heappush(self.clock.ends, (self.clock.now + seconds, task.name))
            yield Submitted(task.name, "a worker")

    def find(self, task: Task, id: str) -> Submitted | None:
        return None

    def ended(self, submitted: Submitted) -> str | None:
        while self.clock.ends and self.clock.ends[0][0] <= self.clock.now:
            self.ended_jobs.add(heapq.heappop(self.clock.ends)[1])
        return "" if submitted.handle in self.ended_jobs else None

    def stop(self, submitted: Sequence[Submitted], now: bool) -> None:
        raise NotImplementedError


def measure_idle(folders: Folders) -> tuple[float, float]:
    """Share of the workers' time in which they have nothing to do, and seconds of the driver itself."""
    chance, methods = random.Random(0), [f"method-{n}" for n in range(METHODS)]
    jobs = [Job(method, "toy", seed, "smoke") for seed in range(DRIVEN // METHODS) for method in methods]
    hours = {job.name: chance.uniform(*HOURS) for job in jobs}
    for job in jobs:
        hours[job.name] += PART_HOURS * (job.method == methods[0])  # the first of a seed makes the part of all
    clock = Clock()
    workers = Workers(clock, hours)
    driver.time = clock  # type: ignore[assignment]
    began = time.process_time()
    Driver(workers, Ledger(folders.cache), folders, Limits(), "cpu", lambda text: None).run(
        [_planned(job) for job in jobs]
    )
    return 1 - workers.busy_s / (WORKERS * clock.now), time.process_time() - began


def _planned(job: Job) -> PlannedJob:
    part = PartForecast(f"part-{job.seed}", "part", "train", 1, None, None, None, None, None)
    cell = CellForecast(
        job.method, job.dataset, "0" * 12, job.seed, Path("r.json"), False, [part], {}, None, None, None, None, ["cpu"]
    )
    return PlannedJob(job, job, [cell])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="1,000 jobs")
    given = parser.parse_args()
    jobs = list(grid(1000 if given.quick else given.jobs).jobs())
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folders = Folders(root / "out", root / "cache")
        plan_s, plan_bytes = measure_plan(jobs, folders)
        print(f"plan of {len(jobs):,} jobs: {plan_s:.1f} s, {plan_bytes / 1e9:.2f} GB", flush=True)
        status_s = measure_status(jobs, folders)
        print(f"status: {status_s:.2f} s", flush=True)
        idle, driver_s = measure_idle(Folders(root / "out", root / "driven"))
        print(f"{DRIVEN:,} jobs on {WORKERS} workers: idle {100 * idle:.2f} % of their time; driver {driver_s:.1f} s")
    return int(plan_s >= PLAN_S or plan_bytes >= PLAN_BYTES or status_s >= STATUS_S or idle >= IDLE)


if __name__ == "__main__":
    sys.exit(main())
