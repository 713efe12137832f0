"""Tasks as jobs of a cluster, on clusters that submitit makes of this machine."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import submitit

from adbench.errors import SuiteError
from adbench.execution import process
from adbench.execution.engines import executor
from adbench.execution.executor import Task
from adbench.execution.slurm import Command, SlurmExecutor
from adbench.execution.suite import Grid, Suite

LIMIT_S = 120
HOURS = 1.0


def task(tmp_path: Path, *arguments: str, hours: float | None = HOURS) -> Task:
    return Task("a job", list(arguments), tmp_path / "logs" / "j.log", hours, memory_gb=2.0)


def end(runs: SlurmExecutor, submitted) -> str:
    began = time.monotonic()
    while (why := runs.ended(submitted)) is None:
        assert time.monotonic() - began < LIMIT_S
        time.sleep(0.1)
    return why


def counting(folder: Path, end: int = 5) -> Path:
    """A program that counts to `end` in a file, a second each, goes on where it was, and saves when interrupted."""
    path = folder / "count.py"
    path.write_text(
        "import pathlib, sys, time\n"
        "kept = pathlib.Path(sys.argv[1])\n"
        "n = int(kept.read_text()) if kept.exists() else 0\n"
        "try:\n"
        f"    while n < {end}:\n"
        "        print(n, flush=True)\n"
        "        time.sleep(1)\n"
        "        n += 1\n"
        "except KeyboardInterrupt:\n"
        "    print('saved', flush=True)\n"
        "    sys.exit(130)\n"
        "finally:\n"
        "    kept.write_text(str(n))\n"
    )
    return path


def test_a_task_ends_well_or_with_the_reason_of_its_log(tmp_path):
    runs = SlurmExecutor(tmp_path / "%j", {}, None, cluster="local")
    good, bad = runs.submit([task(tmp_path / w[0], *w) for w in (["--version"], ["info", "vea"])])
    assert end(runs, good) == ""
    assert end(runs, bad).startswith("error: no ")
    assert good.place.startswith("SLURM job ")
    assert (tmp_path / "--version/logs/j.log").read_text(encoding="utf-8").startswith("adbench ")


def test_a_job_returns_the_exit_code_of_its_command(tmp_path):
    here = submitit.AutoExecutor(tmp_path, cluster="debug")
    good, bad = (here.submit(Command(words, tmp_path / "j.log")) for words in (["--version"], ["info", "vea"]))
    assert (good.result(), bad.result()) == (0, 2)
    assert (tmp_path / "j.log").read_text(encoding="utf-8").startswith("adbench ")


def test_no_more_are_queued_than_asked_for(tmp_path):
    runs = SlurmExecutor(tmp_path / "%j", {}, 1, cluster="local")
    (first,) = runs.submit([task(tmp_path, "--version")])
    assert not runs.takes(task(tmp_path))
    end(runs, first)
    assert runs.takes(task(tmp_path))
    assert not runs.takes(task(tmp_path), beside=1)


def test_time_memory_and_the_table_of_the_suite_reach_sbatch(tmp_path, monkeypatch):
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    monkeypatch.setattr(submitit.slurm.slurm.shutil, "which", lambda name: name)
    texts: list[str] = []

    def sbatch(self, command):
        texts.append(self._make_submission_file_text(command, "uid"))
        return submitit.SlurmJob(tmp_path, "7")

    monkeypatch.setattr(submitit.SlurmExecutor, "_submit_command", sbatch)
    monkeypatch.setattr(submitit.core.utils.JobPaths, "move_temporary_file", lambda *_, **__: None)
    settings = {"partition": "gpu", "account": "lab", "gpus_per_node": 1, "cpus_per_task": 4, "qos": "long"}
    runs = SlurmExecutor(tmp_path / "%j", settings, None)
    (submitted,) = runs.submit([task(tmp_path, hours=1.51)])
    assert submitted.place == "SLURM job 7"
    for word in ("partition=gpu", "account=lab", "gpus-per-node=1", "cpus-per-task=4", "qos=long", "mem=2GB"):
        assert f"#SBATCH --{word}\n" in texts[0]
    assert f"#SBATCH --time={math.ceil(1.51 * 60)}\n" in texts[0]
    assert "--signal=USR2@" in texts[0]


def test_a_job_that_sbatch_refuses_is_an_error_with_its_words(tmp_path, monkeypatch):
    for name in ("sbatch", "srun"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'invalid partition' >&2; exit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(SuiteError, match="invalid partition"):
        SlurmExecutor(tmp_path / "%j", {}, None).submit([task(tmp_path)])


def test_a_folder_that_cannot_be_written_is_an_error_now_or_when_jobs_are_submitted(tmp_path):
    folder = tmp_path / "slurm"
    runs = SlurmExecutor(folder / "%j", {}, None, cluster="local")
    folder.rmdir()
    folder.write_bytes(b"no folder")
    with pytest.raises(SuiteError, match=r"slurm cannot be written .*--cache"):
        runs.submit([task(tmp_path)])
    with pytest.raises(SuiteError, match=r"slurm cannot be written .*--cache"):
        SlurmExecutor(folder / "%j", {}, None, cluster="local")


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"partitoin": "gpu"}, "partitoin"), ({"time": 5}, r"those of \[limits\]")],
)
def test_a_table_that_is_not_of_slurm_is_an_error(tmp_path, settings, says):
    with pytest.raises(SuiteError, match=says):
        SlurmExecutor(tmp_path / "%j", settings, None, cluster="debug")


def test_what_cannot_be_done_on_slurm_is_an_error(tmp_path, monkeypatch):
    suite = Suite(grids=(Grid(methods=("random",), datasets=("phantom",)),))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SuiteError, match="SLURM must be at hand"):
        executor("slurm", suite, tmp_path, None, [], None)
    with pytest.raises(SuiteError, match="those of this machine"):
        executor("slurm", suite, tmp_path, None, ["0"], None)
    with pytest.raises(SuiteError, match="set hours in"):
        SlurmExecutor(tmp_path / "%j", {}, None, cluster="debug").takes(task(tmp_path, hours=None))
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.delitem(sys.modules, "adbench.execution.slurm")
    with pytest.raises(SuiteError, match=r"pip install 'brain-adbench\[slurm\]'"):
        executor("slurm", suite, tmp_path, None, [], None)


def test_a_command_that_must_make_room_saves_and_the_same_one_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "COMMAND", (str(counting(tmp_path)),))
    command, log = Command([str(tmp_path / "kept")], tmp_path / "j.log"), tmp_path / "j.log"
    left = []

    def preempted(*_: object) -> None:
        left.append(command.checkpoint())
        raise SystemExit

    before = signal.signal(signal.SIGALRM, preempted)
    try:
        signal.setitimer(signal.ITIMER_REAL, 2.5)
        with pytest.raises(SystemExit):
            command()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert log.read_text(encoding="utf-8").splitlines()[-1] == "saved"
    assert left[0].function.arguments == command.arguments
    assert left[0].function() == 0
    steps = [line for line in log.read_text(encoding="utf-8").splitlines() if line != "saved"]
    assert sorted(set(steps)) == list("01234")
    assert len(steps) <= 6, "it went on where it was"


@pytest.mark.slow
def test_a_task_whose_time_is_over_is_requeued_and_goes_on(tmp_path, monkeypatch):
    program, kept = counting(tmp_path, 12), tmp_path / "kept"
    (tmp_path / "sitecustomize.py").write_text(  # of the job's process too
        "import sys\n"
        "if 'submitit.core._submit' in sys.orig_argv:\n"
        "    from adbench.execution import process\n"
        f"    process.COMMAND = ({str(program)!r},)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    runs = SlurmExecutor(tmp_path / "%j", {}, None, cluster="local")
    runs._executor._executor.parameters["signal_delay_s"] = 50  # of the least limit, a minute: after 10 seconds
    given = task(tmp_path, str(kept), hours=1 / 60)
    (submitted,) = runs.submit([given])
    assert end(runs, submitted) == ""
    said = given.log.read_text(encoding="utf-8").splitlines()
    assert "saved" in said
    steps = [int(line) for line in said if line != "saved"]
    assert sorted(set(steps)) == list(range(12))
    assert len(steps) <= 12 + said.count("saved"), "it went on where it was"
