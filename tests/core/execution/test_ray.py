"""Tasks of Ray, on a cluster of two workers on this machine."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from adbench.errors import SuiteError
from adbench.execution import process
from adbench.execution.engines import executor
from adbench.execution.executor import Task
from adbench.execution.suite import Grid, Suite

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'brain-adbench[ray]'")
LIMIT_S = 300


def suite(**settings: object) -> Suite:
    return Suite(grids=(Grid(methods=("random",), datasets=("phantom",)),), ray=settings)


def task(tmp_path: Path, *arguments: str, hours: float | None = None) -> Task:
    return Task("a job", list(arguments), tmp_path / "logs" / f"{arguments[0]}.log", hours, None)


def end(runs, submitted) -> str:
    began = time.monotonic()
    while (why := runs.ended(submitted)) is None:
        assert time.monotonic() - began < LIMIT_S
        time.sleep(0.1)
    return why


def test_a_task_is_ended_when_its_time_is_over(tmp_path, monkeypatch):
    from adbench.execution.ray import carry_out

    monkeypatch.setattr(process.sys, "executable", "/bin/sleep")
    monkeypatch.setattr(process, "COMMAND", ())
    assert "hours" in carry_out(["100"], tmp_path / "j.log", 1e-9)
    assert carry_out(["0"], tmp_path / "j.log", 1.0) == ""


def test_a_table_that_is_not_of_ray_and_an_address_for_another_are_errors(tmp_path):
    with pytest.raises(SuiteError, match=r"\[ray\].*num_cpsu"):
        executor("ray", suite(num_cpsu=1), tmp_path, None, [], None)
    with pytest.raises(SuiteError, match="--ray-address"):
        executor("local", suite(), tmp_path, None, [], "auto")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_run_tasks_side_by_side_and_end_them_on_request(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_worker_niceness", "0")  # all other tests would go first
    sleeping = tmp_path / "sleeping.py"
    sleeping.write_text(
        "import sys, time\ntry:\n    print('asleep', flush=True)\n    time.sleep(1000)\n"
        "except KeyboardInterrupt:\n    print('saved')\n    sys.exit(130)\n"
    )
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a script
    runs = executor("ray", suite(num_cpus=1), tmp_path, 2, [], None)
    try:
        good, bad = runs.submit([task(tmp_path, "--version"), task(tmp_path, "info", "vea")])
        assert not runs.takes(task(tmp_path, "list"))
        assert end(runs, good) == ""
        assert end(runs, bad).startswith("error: no ")
        assert (tmp_path / "logs" / "--version.log").read_text(encoding="utf-8").startswith("adbench ")

        @ray.remote
        def patched(arguments, log):
            from adbench.execution.ray import carry_out

            process.COMMAND = ()
            return carry_out(arguments, log, None)

        stopped = patched.remote([str(sleeping)], tmp_path / "sleeping.log")
        log = tmp_path / "sleeping.log"
        began = time.monotonic()
        while not log.is_file() or "asleep" not in log.read_text(encoding="utf-8"):
            assert time.monotonic() - began < 300
            time.sleep(0.2)
        ray.cancel(stopped)
        ready, _ = ray.wait([stopped], timeout=LIMIT_S)
        assert ready
        assert log.read_text(encoding="utf-8") == "asleep\nsaved\n"
    finally:
        ray.shutdown()
        signal.signal(signal.SIGINT, heard)
