"""`adbench suite`: plan, run and follow the grids of a file."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache as cache_of
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adbench.cli import console
from adbench.cli.arguments import Cache, DataRoot, Device, SeveralCommand
from adbench.config.options import default_cache
from adbench.errors import SuiteError, counted
from adbench.execution.executor import Engine
from adbench.results import formats

if TYPE_CHECKING:
    from rich.table import Table

    from adbench.execution.job import Folders, Job
    from adbench.execution.ledger import Entry, Ledger
    from adbench.execution.planning import Costs, PlannedJob

app = typer.Typer(help="Plan, run and follow the grids of a file.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The suite, a TOML file.", show_default=False)]
Out = Annotated[Path, typer.Option(help="Folder for records and pages.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Setting of every grid, after its own.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RESULTS = Path("leaderboards")
Row = dict[str, str]
"""Of a job: its name and key, status, what is to be said of it, and its log."""
STATES = ("to do", "done", "cannot run")
UNDONE = ("waiting", "failed")
WATCH_S = 2.0
MEASURED = ("training", "scoring", "memory", "disk")
"""Columns of a plan."""


@app.command(cls=SeveralCommand)
def plan(
    file: File,
    out: Out = RESULTS,
    cache: Cache = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    settings: Settings = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure nothing: no times, memory and disk.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a suite takes, what is done, and what cannot be run here and why. Nothing is written."""
    jobs, folders = _jobs(file, settings, out, cache, data_root)
    planned = _planned(jobs, folders, device, measured=not quick)
    if as_json:
        console.say_json(_as_json(planned, folders, device))
    else:
        _show_plan(planned)


@app.command(cls=SeveralCommand)
def run(
    file: File,
    out: Out = RESULTS,
    cache: Cache = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    settings: Settings = None,
    on: Annotated[Engine, typer.Option(help="Who runs the jobs: processes of this machine, or a cluster.")] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Jobs at once.  [default: on a cluster all that are ready, else 1]")
    ] = None,
    gpus: Annotated[str, typer.Option(help="CUDA devices that workers take turns at: 0,1.")] = "",
    ray_address: Annotated[
        str | None, typer.Option(help="Of a cluster of Ray.  [default: one of this machine is made]")
    ] = None,
) -> None:
    """Run what is not done, and write the pages. Once more, it goes on; what failed waits for `suite retry`."""
    from adbench.execution.driver import Driver
    from adbench.execution.engines import executor
    from adbench.execution.ledger import Ledger
    from adbench.execution.suite import read_suite
    from adbench.results import pages

    jobs, folders = _jobs(file, settings, out, cache, data_root)
    suite = read_suite(file)
    runs = executor(on, suite, folders.cache, workers, list(filter(None, gpus.split(","))), ray_address)
    planned = _planned(jobs, folders, device, measured=False)
    ledger = Ledger(folders.cache)
    for each in planned:
        if each.reason:
            console.complain(f"cannot run: {each.job.name}: {each.reason}")
    ends = Driver(runs, ledger, folders, suite.limits, device, console.complain).run(planned)
    if any(not why for why in ends.values()):
        pages.write_pages(out)
    entries = ledger.entries()
    failed = sum(entries[key].status == "failed" for job in jobs if (key := job.key(folders)) in entries)
    console.say(_summary(planned, ends, failed))
    if failed or any(each.reason for each in planned):
        raise typer.Exit(console.FAILED)


@app.command(cls=SeveralCommand)
def status(
    file: File,
    out: Out = RESULTS,
    cache: Cache = None,
    data_root: DataRoot = None,
    settings: Settings = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again until all have ended.")] = False,
) -> None:
    """Say which jobs wait, run, are done (by `adbench run` too) or have failed, why, and where their logs are."""
    from adbench.execution.ledger import Ledger

    jobs, folders = _jobs(file, settings, out, cache, data_root)
    ledger, keys = Ledger(folders.cache), [job.key(folders) for job in jobs]
    rows = _states(jobs, keys, ledger)
    recorded = _recorded_jobs(rows, jobs, folders)
    _note_done(rows, recorded)
    if as_json:
        console.say_json(rows)
    elif watch and console.out().is_interactive:
        _watch(rows, lambda: _note_done(_states(jobs, keys, ledger), recorded), ledger)
    else:
        console.out().print(_status_table(rows))
        for line in _status_lines(rows, ledger):
            console.say(line)


@app.command(cls=SeveralCommand)
def retry(
    file: File,
    out: Out = RESULTS,
    cache: Cache = None,
    settings: Settings = None,
    failed: Annotated[bool, typer.Option("--failed", help="All jobs that failed.")] = False,
    job: Annotated[list[str] | None, typer.Option(help="One that failed, by the name of its log.")] = None,
) -> None:
    """Let jobs that failed be run again, by the next `adbench suite run`."""
    from adbench.execution.ledger import Ledger

    jobs, folders = _jobs(file, settings, out, cache, None)
    keys = [each.key(folders) for each in jobs]
    n = Ledger(folders.cache).forget_failures(keys if failed else _named(job, keys, file))
    console.say(f"{counted(n, 'job')} that failed will be run again")


@app.command()
def cancel(cache: Cache = None) -> None:
    """Ask every `adbench suite run` of a cache to stop; its jobs go on from their checkpoints when it runs again."""
    from adbench.execution.ledger import Ledger

    n = Ledger(cache or default_cache()).ask_to_stop()
    console.say(f"{counted(n, 'run')} asked to stop" if n else "no suite runs with this cache")


def _jobs(
    file: Path, settings: Sequence[str] | None, out: Path, cache: Path | None, data_root: Path | None
) -> tuple[list[Job], Folders]:
    from adbench.execution.job import Folders
    from adbench.execution.suite import read_suite

    return read_suite(file, settings or ()).jobs(), Folders(out, cache or default_cache(), data_root)


def _named(jobs: Sequence[str] | None, keys: Sequence[str], file: Path) -> Sequence[str]:
    """Raises SuiteError where nothing is named, or what is no job of the file."""
    if not jobs:
        raise SuiteError("What is to be run again must be said: --failed for all that failed, or --job.")
    if unknown := [job for job in jobs if job not in keys]:
        raise SuiteError(
            f"--job takes the key of a job, as its log is named, but {file} has none {unknown[0]!r}. "
            "'adbench suite status' shows the logs."
        )
    return jobs


def _planned(jobs: Sequence[Job], folders: Folders, device: str, measured: bool) -> list[PlannedJob]:
    from adbench.execution import planning

    with console.working() as reporter:
        return planning.plan(jobs, folders, device, reporter, measured)


def _summary(planned: Sequence[PlannedJob], ends: dict[str, str], failed: int) -> str:
    done, cannot = (sum(each.status == state for each in planned) for state in ("done", "cannot run"))
    said = [f"{counted(len(planned), 'job')}: {done} done before", f"{sum(not why for why in ends.values())} run now"]
    said += [f"{failed} failed (adbench suite retry --failed lets them be run again)"] * (failed > 0)
    said += [f"{cannot} cannot be run here"] * (cannot > 0)
    return ", ".join(said)


def _show_plan(planned: Sequence[PlannedJob]) -> None:
    from adbench.execution.planning import costs, in_all

    each, table = costs(planned), console.grid("job", "status", "to make", *MEASURED, left=3)
    for job, own in zip(planned, each, strict=True):
        made = ", ".join(part.kind for part in own.parts) or formats.NONE
        table.add_row(job.job.name, job.status, made, *_measured(own if job.status == "to do" else None))
    total = in_all(each)
    table.add_section()
    table.add_row("all", "", counted(len(total.parts), "part"), *_measured(total))
    console.out().print(table)
    for job in planned:
        if job.reason:
            console.say(f"cannot run: {job.job.name}: {job.reason}")
    states = [job.status for job in planned]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATES)
    console.say(f"{counted(len(planned), 'job')}: {counts}; {counted(len(total.parts), 'part')} to make")
    if set(states) <= {"done"}:
        console.say("nothing to do")
    elif total.seconds is not None:
        console.say(f"estimated time, one after another on this device: {formats.duration(total.seconds)}")


def _measured(costs: Costs | None) -> list[str]:
    if costs is None:
        return [formats.NONE] * len(MEASURED)
    times = [formats.duration(costs.training_s), formats.duration(costs.scoring_s)]
    return [*times, formats.mebibytes(costs.memory_bytes), formats.mebibytes(costs.disk_bytes)]


def _as_json(planned: Sequence[PlannedJob], folders: Folders, device: str) -> dict[str, Any]:
    """All jobs with what each takes besides those before it, and in all."""
    from adbench.execution.planning import costs, in_all

    each = costs(planned)
    states = [job.status for job in planned]
    jobs = [
        {
            "job": job.job.name,
            "status": job.status,
            "reason": job.reason,
            **_costs_as_json(own),
            "command": ["adbench", *job.own.arguments(folders, device)],
            "cells": [asdict(cell) for cell in job.cells],
        }
        for job, own in zip(planned, each, strict=True)
    ]
    return {"total": {**{state: states.count(state) for state in STATES}, **_costs_as_json(in_all(each))}, "jobs": jobs}


def _costs_as_json(costs: Costs) -> dict[str, Any]:
    return {**vars(costs), "parts": [part.key for part in costs.parts], "seconds": costs.seconds}


def _watch(rows: list[Row], look: Callable[[], list[Row]], ledger: Ledger) -> None:
    """Show the states until no job waits or runs, or Ctrl-C."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with suppress(KeyboardInterrupt), Live(console=console.out(), auto_refresh=False) as live:
        while True:
            said = Text("\n".join(_status_lines(rows, ledger)), overflow="fold")
            live.update(Group(_status_table(rows), said), refresh=True)
            if not {"waiting", "running"} & {row["status"] for row in rows}:
                return
            time.sleep(WATCH_S)
            rows = look()


def _status_table(rows: Sequence[Row]) -> Table:
    """Jobs of which something is to be said."""
    table = console.grid("job", "status", "", left=3)
    for row in rows:
        if row["says"]:
            table.add_row(row["job"], row["status"], row["says"])
    return table


def _status_lines(rows: Sequence[Row], ledger: Ledger) -> Iterator[str]:
    """Logs of what failed, and how many jobs there are of each state."""
    for row in rows:
        if row["status"] == "failed":
            yield f"failed: {row['job']}: {row['log'] or 'it left no log'}"
    counts = Counter(row["status"] for row in rows)
    yield ", ".join(f"{counts[state]} {state}" for state in ("waiting", "running", "done", "failed"))
    yield f"logs: {ledger.root / 'logs'}"


def _states(jobs: Sequence[Job], keys: Sequence[str], ledger: Ledger) -> list[Row]:
    entries, logged, lives = ledger.entries(), ledger.logged(), cache_of(ledger.lives)
    rows = []
    for job, key in zip(jobs, keys, strict=True):
        log = str(ledger.log(key)) if key in logged else ""
        status, says = _state(entries.get(key), log, lives)
        rows.append({"job": job.name, "key": key, "status": status, "says": says, "log": log})
    return rows


def _state(entry: Entry | None, log: str, lives: Callable[[str], bool]) -> tuple[str, str]:
    """Of a job: waiting, running, done or failed, and what is to be said of it."""
    if entry is None:
        return "waiting", ""
    if entry.status in ("done", "failed"):
        return entry.status, entry.reason.partition("\n")[0]
    if entry.status == "running" and lives(entry.driver):
        lines = Path(log).read_text("utf-8", errors="replace").splitlines() if log else []
        return "running", ", ".join([entry.place, *lines[-1:]])
    return "waiting", "its driver is gone" if entry.status == "running" else ""


def _note_done(rows: list[Row], recorded: set[str]) -> list[Row]:
    for row in rows:
        if row["key"] in recorded and row["status"] in UNDONE:
            row.update(status="done", says="")
    return rows


def _recorded_jobs(rows: Sequence[Row], jobs: Sequence[Job], folders: Folders) -> set[str]:
    """Keys of jobs whose records are there, whoever made them: a driver that is gone, or `adbench run`."""
    recorded = cache_of(_recorded)
    undone = [job for job, row in zip(jobs, rows, strict=True) if row["status"] in UNDONE]
    left = [job for job in undone if job.seed in recorded(folders.out, job.dataset, job.method)]
    planned = _planned(left, folders, "auto", measured=False) if left else ()
    return {each.job.key(folders) for each in planned if each.status == "done"}


def _recorded(out: Path, dataset: str, method: str) -> set[int]:
    """Seeds of the records of a method on a dataset, of whatever settings, that did not fail."""
    from adbench.errors import RecordError
    from adbench.results.record import read_record

    seeds = set()
    for path in (out / "records" / dataset / method).glob("*-seed*.json"):
        with suppress(RecordError):
            record = read_record(path)
            seeds |= {record.seed} if record.status == "ok" else set()
    return seeds
