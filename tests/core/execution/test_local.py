"""Tasks as real processes: how they end is said, and they end when asked."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from adbench.errors import SuiteError
from adbench.execution import local, process
from adbench.execution.executor import Task
from adbench.execution.local import LocalExecutor

LIMIT_S = 120


def task(tmp_path: Path, *arguments: str, hours: float | None = None, memory_gb: float | None = None) -> Task:
    return Task("a job", list(arguments), tmp_path / "logs" / "j.log", hours, memory_gb)


def end(executor: LocalExecutor, submitted) -> str:
    began = time.monotonic()
    while (why := executor.ended(submitted)) is None:
        assert time.monotonic() - began < LIMIT_S
        time.sleep(0.05)
    return why


def test_a_task_that_ends_well_has_no_reason_and_one_that_does_not_has_that_of_its_log(tmp_path):
    executor = LocalExecutor(2)
    good, bad = executor.submit([task(tmp_path / w[0], *w) for w in (["--version"], ["info", "toy-traind"])])
    assert end(executor, good) == ""
    assert end(executor, bad).startswith("error: no ")
    assert (tmp_path / "--version/logs/j.log").read_text(encoding="utf-8").startswith("adbench ")


def test_a_task_is_ended_when_its_time_is_over_or_it_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(process.sys, "executable", "/bin/sleep")
    monkeypatch.setattr(process, "COMMAND", ())
    executor = LocalExecutor(2)
    late, killed = executor.submit([task(tmp_path, "100", hours=1e-9), task(tmp_path, "100")])
    assert "hours" in end(executor, late)
    executor.stop([killed], now=True)
    assert end(executor, killed) == "killed by SIGKILL"


def test_a_task_that_was_begun_where_interrupts_are_ignored_hears_them(tmp_path, monkeypatch):
    monkeypatch.setattr(process.sys, "executable", "/bin/sleep")
    monkeypatch.setattr(process, "COMMAND", ())
    executor = LocalExecutor(1)
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a command in the background of a script
    try:
        (asked,) = executor.submit([task(tmp_path, "100")])
    finally:
        signal.signal(signal.SIGINT, ours)
    executor.stop([asked], now=False)
    assert end(executor, asked) == "killed by SIGINT"


def test_a_task_waits_for_a_worker_and_for_memory(tmp_path, monkeypatch):
    free = SimpleNamespace(total=8e9, available=8e9)
    monkeypatch.setattr(local.psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(process.sys, "executable", "/bin/sleep")
    monkeypatch.setattr(process, "COMMAND", ())
    executor = LocalExecutor(2)
    assert executor.takes(task(tmp_path, memory_gb=6))
    (first,) = executor.submit([task(tmp_path, "100", memory_gb=6)])
    assert not executor.takes(task(tmp_path, memory_gb=3)), "both would not fit"
    assert executor.takes(task(tmp_path, memory_gb=2))
    free.available = 1e9
    assert not executor.takes(task(tmp_path, memory_gb=2)), "others use the memory"
    (second,) = executor.submit([task(tmp_path, "100")])
    assert not executor.takes(task(tmp_path)), "there is no third worker"
    executor.stop([first, second], now=True)
    for each in (first, second):
        end(executor, each)
    assert executor.takes(task(tmp_path, memory_gb=8)), "alone it may try, whatever is free now"


def test_what_can_never_fit_is_an_error(tmp_path):
    with pytest.raises(SuiteError, match="must fit into memory"):
        LocalExecutor().takes(task(tmp_path, memory_gb=1e6))
    with pytest.raises(SuiteError, match="at least 1"):
        LocalExecutor(0)


def test_workers_take_turns_at_the_gpus():
    executor = LocalExecutor(3, ["0", "1"])
    assert [executor._environment(worker)["CUDA_VISIBLE_DEVICES"] for worker in range(3)] == ["0", "1", "0"]
    assert "CUDA_VISIBLE_DEVICES" not in LocalExecutor(2)._environment(0)


@pytest.mark.parametrize(
    ("log", "code", "says"),
    [
        ("progress\nerror: no data.\n", 2, "error: no data."),
        ("failed: ddpm on toy: diverged\nmore\n", 1, "failed: ddpm on toy: diverged"),
        ("Traceback\nValueError: x\n", 1, "ValueError: x"),
        ("", 130, "interrupted"),
        ("", 7, "exit code 7"),
        ("anything", -9, "killed by SIGKILL"),
        ("failed: at first\n", 0, ""),
    ],
)
def test_the_reason_is_the_line_of_the_log_that_says_it(tmp_path, log, code, says):
    path = tmp_path / "j.log"
    path.write_text(log)
    assert process.reason(path, code) == says
