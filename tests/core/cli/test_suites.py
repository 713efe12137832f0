"""`adbench suite`: planned, run by processes, followed, and gone on with."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import toys
from rich.console import Console
from typer.testing import CliRunner

from adbench.cli import console
from adbench.cli import suite as commands
from adbench.cli.app import app
from adbench.execution.ledger import Entry, Ledger

SUITE = """
[defaults]
preset = "smoke"
datasets = ["toy"]
settings = ["protocol.resamples=20", "protocol.timing_slices=1", "protocol.timing_budget_s=0.01"]
[[grids]]
methods = ["toy-brightness", "toy-raising"]
[[grids]]
methods = ["toy-trained"]
datasets = ["toy-ct"]
train_on = "toy"
"""


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Calls `adbench suite` with a file and folders; returns the output."""
    toys.install(tmp_path / "site", monkeypatch)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{Path(toys.__file__).parent}")
    file = tmp_path / "suite.toml"
    file.write_text(SUITE)

    def call(command: str, *words: str, code: int = 0) -> str:
        given = [] if command == "cancel" else [str(file), "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(app, ["suite", command, *given, "--cache", str(tmp_path / "cache"), *words])
        assert result.exit_code == code, result.output
        return result.output

    return call


def test_the_plan_says_what_is_to_do_what_cannot_run_and_the_commands(suite):
    text = suite("plan", "--quick")
    assert "3 jobs: 2 to do, 0 done, 1 cannot run" in text
    assert "cannot run: toy-trained on toy-ct, trained on toy, seed 0: " in text
    plan = json.loads(suite("plan", "--quick", "--json"))
    rows, total = plan["jobs"], plan["total"]
    assert [row["status"] for row in rows] == ["to do", "to do", "cannot run"]
    assert (total["to do"], total["parts"], total["disk_bytes"]) == (2, [], None)
    assert rows[0]["command"][:4] == ["adbench", "run", "--method", "toy-brightness"]


def test_the_plan_says_what_each_job_and_all_together_take(suite):
    rows = [line.split() for line in suite("plan").splitlines()]
    sizes = {row[0]: row[-2:] for row in rows if row and row[-1:] == ["MiB"]}
    assert sizes.keys() == {"toy-brightness", "toy-raising", "all"}
    plan = json.loads(suite("plan", "--json"))
    each = [job["disk_bytes"] for job in plan["jobs"]]
    assert plan["total"]["disk_bytes"] == each[0] + each[1] > 0
    assert each[2] is None


def test_a_suite_is_followed_while_it_waits_runs_and_fails(suite, tmp_path):
    states = {row["job"]: row for row in json.loads(suite("status", "--json"))}
    assert {row["status"] for row in states.values()} == {"waiting"}
    key = states["toy-brightness on toy, seed 0"]["key"]
    ledger = Ledger(tmp_path / "cache")
    ledger.beat()
    ledger.write(Entry(job=key, status="running", attempt=1, driver=ledger.driver, place="process 7"))
    ledger.log(key).parent.mkdir(parents=True)
    ledger.log(key).write_text("fitting\npart: 3/9\n")
    text = suite("status")
    assert "process 7, part: 3/9" in text
    assert "2 waiting, 1 running, 0 done, 0 failed" in text
    ledger.write(Entry(job=key, status="failed", attempt=1, driver=ledger.driver, reason="out of memory"))
    text = suite("status")
    assert "out of memory" in text
    assert f"failed: toy-brightness on toy, seed 0: {ledger.log(key)} " in " ".join(text.split())
    assert "0 jobs that failed" in suite("retry", "--job", states["toy-raising on toy, seed 0"]["key"])
    assert "1 job that failed will be run again" in suite("retry", "--failed")
    assert "3 waiting" in suite("status")
    assert "1 run asked to stop" in suite("cancel")
    ledger.close()
    assert "no suite runs" in suite("cancel")


def test_on_a_terminal_a_suite_is_watched_until_all_have_ended_and_in_a_pipe_it_is_shown_once(
    suite, tmp_path, monkeypatch
):
    ledger = Ledger(tmp_path / "cache")
    ledger.beat()
    first, *others = (row["key"] for row in json.loads(suite("status", "--json")))
    ledger.write(Entry(job=first, status="running", attempt=1, driver=ledger.driver, place="process 7"))
    assert suite("status", "--watch") == suite("status")

    def all_end(seconds: float) -> None:
        ledger.write(Entry(job=first, status="failed", attempt=1, driver=ledger.driver, reason="too\nlate"))
        for key in others:
            ledger.write(Entry(job=key, status="done", attempt=1, driver=ledger.driver))

    terminal = Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=100)
    monkeypatch.setattr(console, "out", lambda: terminal)
    monkeypatch.setattr(commands, "time", SimpleNamespace(sleep=all_end))
    suite("status", "--watch")
    before, after = terminal.file.getvalue().split("\x1b[1A", 1)
    assert "2 waiting, 1 running, 0 done, 0 failed" in before
    assert "process 7" in before
    assert "0 waiting, 0 running, 2 done, 1 failed" in after
    assert "too" in after
    assert "late" not in after


def test_a_job_whose_driver_is_gone_is_done_where_its_record_is_there_and_waits_otherwise(suite, tmp_path):
    ledger = Ledger(tmp_path / "cache")
    ledger.beat()
    for row in json.loads(suite("plan", "--quick", "--json"))["jobs"][:1]:
        assert CliRunner().invoke(app, row["command"][1:]).exit_code == 0
    for row in json.loads(suite("status", "--json"))[:2]:
        ledger.write(Entry(job=row["key"], status="running", attempt=1, driver=ledger.driver))
    ledger.close()
    states = [(row["status"], row["says"]) for row in json.loads(suite("status", "--json"))]
    assert states == [("done", ""), ("waiting", "its driver is gone"), ("waiting", "")]


def test_what_adbench_run_has_measured_is_done_though_it_failed_in_the_suite_before(suite, tmp_path):
    first, second, _ = json.loads(suite("status", "--json"))
    ledger = Ledger(tmp_path / "cache")
    for row in (first, second):
        ledger.write(Entry(job=row["key"], status="failed", attempt=1, driver=ledger.driver, reason="full disk"))
    command = json.loads(suite("plan", "--quick", "--json"))["jobs"][0]["command"]
    assert CliRunner().invoke(app, command[1:]).exit_code == 0
    assert [row["status"] for row in json.loads(suite("status", "--json"))] == ["done", "failed", "waiting"]
    other = ["--set", "protocol.resamples=21"]
    assert [row["status"] for row in json.loads(suite("status", "--json", *other))] == ["waiting"] * 3


def test_retry_is_told_which_jobs(suite):
    assert "--failed for all" in suite("retry", code=2)
    assert "has none '0123'" in suite("retry", "--job", "0123", code=2)


@pytest.mark.slow
def test_a_suite_is_run_by_jobs_that_submitit_makes_of_this_machine(suite, tmp_path, monkeypatch):
    from adbench.execution import slurm

    monkeypatch.setattr(slurm.SlurmExecutor.__init__, "__defaults__", ("local",))
    given = (tmp_path / "suite.toml").read_text().partition('[[grids]]\nmethods = ["toy-trained"]')[0]
    (tmp_path / "suite.toml").write_text(f"{given}[limits]\nhours = 0.1\n")
    assert "2 jobs: 0 done before, 1 run now, 1 failed" in suite("run", "--on", "slurm", code=1)
    states = json.loads(suite("status", "--json"))
    assert [row["status"] for row in states] == ["done", "failed"]
    assert all(Path(row["log"]).is_file() for row in states)


@pytest.mark.slow
def test_a_suite_is_run_by_processes_and_goes_on(suite, tmp_path):
    text = suite("run", "--workers", "2", code=1)
    assert "3 jobs: 0 done before, 1 run now, 1 failed" in text
    assert "1 cannot be run here" in " ".join(text.split())
    assert (tmp_path / "out" / "toy.md").is_file()
    assert "0 waiting" not in suite("status")
    again = suite("run", code=1)
    assert "3 jobs: 1 done before, 0 run now, 1 failed" in again
    suite("retry", "--failed")
    assert "1 failed" in suite("run", code=1)
