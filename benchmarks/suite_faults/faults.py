"""What is done to a suite. Each fault takes a trial, and says whether it struck before the suite had ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
from clusters import Cluster, Local, Ray, Slurm, kill_with_all_below
from forking import on_a_node_of_its_own, on_another_host, processes_in
from striking import PLACES, STEPS, plan_nothing, plan_strike, set_clock_ahead
from trial import Trial, WrongError

from adbench.execution import ledger

Fault = Callable[[Trial], bool]
DISK_BYTES = 32 * 2**20
FULL, TWO, AHEAD = "full disk", "two drivers", "clock an hour ahead"
LAST = (TWO, AHEAD)
"""Faults after which there is most often nothing left to do."""


def faults_of(cluster: Cluster) -> dict[str, Fault]:
    """All that can happen on an executor."""
    if isinstance(cluster, Local):
        return {**COMMON, "node gone with its leases": node_gone}
    if isinstance(cluster, Ray):
        return {**COMMON, **_of_ray(cluster)}
    return {**COMMON, **_of_slurm(cluster)}


def at_a_place(name: str) -> Fault:
    def fault(trial: Trial) -> bool:
        marker = trial.marker()
        plan_strike(trial.folder, name, trial.chance.randint(1, PLACES[name].most), marker)
        trial.begin().wait()
        plan_nothing(trial.folder)
        return marker.exists()

    return fault


def driver_killed(trial: Trial) -> bool:
    one = trial.begin()
    struck = trial.wait_a_while(one)
    one.kill()
    return struck


def two_drivers(trial: Trial) -> bool:
    return together(trial, on_another_host)


def together(trial: Trial, prepare: Callable[[], object]) -> bool:
    """Two drivers, one of them after `prepare`, have something to do."""
    before = len(trial.entries("done"))
    both = trial.begin(prepare), trial.begin()
    for each in both:
        each.wait()
    return len(trial.entries("done")) > before


def two_drivers_one_killed(trial: Trial) -> bool:
    left = trial.begin()
    struck = driver_killed(trial)
    left.wait()
    return struck


def clock_ahead(trial: Trial) -> bool:
    """Of two drivers one is on a node whose clock is an hour ahead, with its jobs, or those of the cluster."""

    def prepare() -> None:
        on_another_host()
        set_clock_ahead()

    (trial.folder / "clock-ahead").touch()
    struck = together(trial, prepare)
    (trial.folder / "clock-ahead").unlink()
    return struck


def node_gone(trial: Trial) -> bool:
    """The machine of the driver and its jobs is gone at once; the leases that it had are left."""
    one = trial.begin(on_a_node_of_its_own)
    struck = trial.wait_a_while(one)
    kill_with_all_below(one.pid)
    one.wait()
    trial.begin().wait()  # which leaves alone what may still be run there
    time.sleep(ledger.SILENT_S)
    return struck


def interrupted(times: int) -> Fault:
    """Ctrl-C, a second one soon after the first: the driver ends as interrupted and leaves no worker."""

    def fault(trial: Trial) -> bool:
        one = trial.begin()
        trial.wait_a_while(one)
        for _ in range(times):
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGINT)
            time.sleep(trial.chance.uniform(0, 0.5))
        code = one.wait()
        if left := trial.processes_left():
            raise WrongError(f"Ctrl-C left {left}")
        if code not in (0, 1, 130):  # it may have ended before, with 1 where an earlier fault is still a failure
            raise WrongError(f"Ctrl-C ended a driver with {code}")
        return code == 130

    return fault


def full_disk(trial: Trial) -> bool:
    """All but some kilobytes of its disk are taken; then they are given back."""
    disk = trial.folder
    shutil.rmtree(disk)
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", disk], check=True, capture_output=True)
    filler = disk / "filler"
    filler.write_bytes(bytes(DISK_BYTES - trial.chance.randint(4, 4000) * 1024))
    code = trial.begin().wait()
    filler.unlink()
    return code != 0


COMMON: dict[str, Fault] = {
    **{name: at_a_place(name) for name in PLACES},
    "driver killed, at any time": driver_killed,
    TWO: two_drivers,
    "two drivers, one killed": two_drivers_one_killed,
    "Ctrl-C": interrupted(1),
    "Ctrl-C twice": interrupted(2),
    AHEAD: clock_ahead,
    FULL: full_disk,
}


def while_it_runs(act: Callable[[Trial], bool]) -> Fault:
    """Something is done to the cluster at any time of a run, which then ends by itself."""

    def fault(trial: Trial) -> bool:
        one = trial.begin()
        struck = trial.wait_a_while(one) and act(trial)
        one.wait()
        return struck

    return fault


def _of_ray(ray: Ray) -> dict[str, Fault]:
    def kill_one(named: str) -> Callable[[Trial], bool]:
        def act(trial: Trial) -> bool:
            found = ray.processes(named)
            for each in found[:1] if len(found) < 2 else [trial.chance.choice(found)]:
                each.kill()
            return bool(found)

        return act

    def lose_node(trial: Trial) -> bool:
        ray.lose(trial.chance.choice(ray.nodes[1:]))
        return True

    return {
        "Ray worker process killed": while_it_runs(kill_one("ray::")),
        "Ray node gone": while_it_runs(lose_node),
    }


def _of_slurm(slurm: Slurm) -> dict[str, Fault]:
    def on_a_job(*command: str) -> Callable[[Trial], bool]:
        """A command of SLURM on one of the jobs that run."""

        def act(trial: Trial) -> bool:
            jobs = [entry.id for entry in trial.entries("running")]
            if not jobs:
                return False
            done = subprocess.run([*command, trial.chance.choice(jobs)], check=False, capture_output=True)
            return done.returncode == 0

        return act

    def steps(trial: Trial) -> list[psutil.Process]:
        found = processes_in(trial.folder)
        return [each for each in found if each.is_running() and "submitit.core._submit" in each.cmdline()]

    def kill_step(trial: Trial) -> bool:
        if found := steps(trial):
            trial.chance.choice(found).kill()
        return bool(found)

    def restart_daemon(trial: Trial) -> bool:
        slurm.restart_daemon()
        return True

    def lose_node(trial: Trial) -> bool:
        slurm.lose_node(steps(trial))
        return True

    def end_soon(id: str) -> None:
        """The time of a job is over in one or two minutes."""
        took = subprocess.run(["squeue", "--noheader", f"--jobs={id}", "--format=%M"], capture_output=True, text=True)
        if ":" in took.stdout:
            limit = f"TimeLimit={int(took.stdout.split(':')[0]) + 2}"
            subprocess.run(["scontrol", "update", f"JobId={id}", limit], check=False, capture_output=True)

    def time_is_over(trial: Trial) -> bool:
        marker = trial.marker()
        plan_strike(trial.folder, "late", trial.chance.randint(1, STEPS), marker)
        one = trial.begin()
        while not marker.exists() and one.poll() is None:
            time.sleep(0.1)
        for entry in trial.entries("running"):
            end_soon(entry.id)
        one.wait()
        plan_nothing(trial.folder)
        return marker.exists()

    return {
        "SLURM job cancelled": while_it_runs(on_a_job("scancel")),
        "SLURM job requeued": while_it_runs(on_a_job("scontrol", "requeue")),
        "SLURM job makes room": while_it_runs(on_a_job("scancel", "--signal=USR2")),
        "SLURM job's time is over": time_is_over,
        "SLURM step killed": while_it_runs(kill_step),
        "slurmd killed and restarted": while_it_runs(restart_daemon),
        "SLURM node gone and back": while_it_runs(lose_node),
    }
