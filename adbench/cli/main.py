"""The command `adbench`: results go to stdout, progress to stderr.

Exit codes: 0 done; 1 a run failed, or a page is stale; 2 the command cannot be carried out as given; 130
interrupted. Whatever needs torch is imported inside the command that needs it, so that listing stays quick.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, replace
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from adbench.cli import console
from adbench.cli import data as data_cli
from adbench.cli.arguments import Cache, DataRoot, Preset, SpreadCommand, TrainOn, split_names
from adbench.cli.tune import tune
from adbench.config.options import default_cache
from adbench.contracts import registry
from adbench.errors import AdbenchError, UnknownPluginError, suggestion

if TYPE_CHECKING:
    from adbench.protocol.harness import RunOptions
    from adbench.results.record import Record

FAILED, USAGE, INTERRUPTED = 1, 2, 130


@contextmanager
def _shown_errors() -> Iterator[None]:
    """Show what a user can mend as its message alone; anything else is a bug and keeps its traceback."""
    try:
        yield
    except AdbenchError as error:
        console.complain(f"error: {error}")
        raise typer.Exit(USAGE) from None
    except KeyboardInterrupt:
        console.complain("interrupted; finished parts and checkpoints are kept, the same command continues")
        raise typer.Exit(INTERRUPTED) from None


class _Group(TyperGroup):
    """All commands, with errors shown one way."""

    def invoke(self, ctx: Any) -> Any:
        with _shown_errors():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Group,
    name="adbench",
    help="Benchmark of unsupervised brain anomaly detectors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_cli.app, name="data")


class What(StrEnum):
    """What to list."""

    methods = "methods"
    datasets = "datasets"


class Device(StrEnum):
    """Where to run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def _version(wanted: bool) -> None:
    if wanted:
        from adbench import __version__

        console.say(f"adbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Benchmark of unsupervised brain anomaly detectors."""


@app.command("list")
def list_plugins(
    what: Annotated[What | None, typer.Argument(help="Only these.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the registered methods and datasets, without importing them."""
    groups = {What.methods: registry.DETECTORS, What.datasets: registry.DATASETS}
    rows = []
    for kind, group in groups.items():
        if what not in (None, kind):
            continue
        entries = registry.names(group)
        faults = {entry.name: fault for entry in entries if (fault := registry.problem(entry))}
        singular = kind.value.removesuffix("s")
        rows += [{"kind": singular, **asdict(e), "problem": faults.get(e.name)} for e in entries]
        if not as_json:
            console.show_entries(singular, entries, faults)
    if as_json:
        _print_json(rows)


@app.command()
def info(name: Annotated[str, typer.Argument(help="A method or a dataset.")]) -> None:
    """Show what a method or dataset is, and its settings with their defaults."""
    methods = [entry.name for entry in registry.names(registry.DETECTORS)]
    datasets = [entry.name for entry in registry.names(registry.DATASETS)]
    if name not in {*methods, *datasets}:
        known = methods + datasets
        hint = suggestion(name, known) or "."
        raise UnknownPluginError(f"no method or dataset {name!r}{hint} Run 'adbench list' to see all {len(known)}.")
    if name in methods:
        console.show_info("method", registry.load_detector(name))
    if name in datasets:
        console.show_info("dataset", registry.load_dataset(name))


@app.command(cls=SpreadCommand)
def run(
    method: Annotated[list[str], typer.Option(help="One or more methods: a b, or a,b.", show_default=False)],
    dataset: Annotated[
        list[str] | None, typer.Option(help="One or more datasets: a b, or a,b.  [default: phantom]")
    ] = None,
    train_on: TrainOn = None,
    data_root: DataRoot = None,
    preset: Preset = "small",
    seed: Annotated[int, typer.Option(min=0, help="Seed of training and scoring.")] = 0,
    device: Annotated[Device, typer.Option(help="Where to run.")] = Device.auto,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Setting of the method, data.KEY or protocol.KEY."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for records and pages.")] = Path("leaderboards"),
    cache: Cache = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as a JSON array.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and do nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run again where a record exists.")] = False,
    tuned: Annotated[
        str | None, typer.Option(metavar="STUDY[#TRIAL]", help="Use the settings that a study found.")
    ] = None,
    storage: Annotated[str | None, typer.Option(help="Where that study is  [default: SQLite in the cache]")] = None,
) -> None:
    """Train and measure methods on datasets, write their records and the pages."""
    methods = _named(method, "method", registry.DETECTORS)
    datasets = _named(dataset or ["phantom"], "dataset", registry.DATASETS)
    if train_on:
        registry.find(registry.DATASETS, train_on)
    registry.check_preset(preset)
    # Names are checked before the harness, which brings torch: a slip of the pen is answered at once.
    from adbench.protocol.harness import RunOptions

    options = RunOptions(
        preset=preset,
        seed=seed,
        device=device.value,
        settings=tuple(settings or ()),
        out=out,
        data_root=data_root,
        force=force,
        train_on=train_on,
        cache=cache or default_cache(),
    )
    if tuned:
        from adbench.tuning.tuned import settings_for_run

        texts, tuning = settings_for_run(tuned, storage, options, methods, datasets)
        options = replace(options, settings=texts, tuning=tuning)
    if dry_run:
        _plan(methods, datasets, options, as_json)
    else:
        _run(methods, datasets, options, as_json)


app.command("tune", cls=SpreadCommand)(tune)


def _named(given: Sequence[str], kind: str, group: str) -> list[str]:
    """Split comma lists, drop repetitions, and look the names up."""
    names = split_names(given)
    if not names:
        raise UnknownPluginError(f"A run needs a {kind}, but --{kind} is empty. Run 'adbench list {kind}s'.")
    for name in names:
        registry.find(group, name)
    return names


def _plan(methods: Sequence[str], datasets: Sequence[str], options: RunOptions, as_json: bool) -> None:
    from adbench.cli import progress
    from adbench.protocol import planning

    with redirect_stdout(sys.stderr), progress.reporter() as reporter:
        plans = planning.plan(methods, datasets, options, reporter)
    if as_json:
        _print_json([asdict(plan) for plan in plans])
    else:
        console.show_plans(plans)


def _run(methods: Sequence[str], datasets: Sequence[str], options: RunOptions, as_json: bool) -> None:
    from adbench.cli import progress
    from adbench.protocol import harness
    from adbench.results import pages

    # Plugins and their libraries may print: stdout is kept for the results.
    with redirect_stdout(sys.stderr), progress.reporter() as reporter:
        records = harness.run(methods, datasets, options, reporter)
    if as_json:
        _print_json([record.model_dump(mode="json") for record in records])
    else:
        console.show_records(records, options.out)
    pages.write_pages(options.out)
    _report_failures(records)


def _report_failures(records: Sequence[Record]) -> None:
    """Say in one line each what did not run; raise typer.Exit where a run failed."""
    for record in records:
        if record.status != "ok":
            reason = " ".join((record.reason or "no reason given").split())
            console.complain(f"{record.status}: {record.detector.name} on {record.dataset.name}: {reason}")
    if any(record.status == "failed" for record in records):
        raise typer.Exit(FAILED)


@app.command("leaderboard")
def leaderboard_pages(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a page is stale.")] = False,
    out: Annotated[Path, typer.Option(help="Folder with the records.")] = Path("leaderboards"),
) -> None:
    """Write the pages from the records, or check that they are what the records give."""
    from adbench.results import pages

    stale = pages.check_pages(out) if check else []
    for path in stale if check else pages.write_pages(out):
        console.say(str(path))
    if stale:
        console.complain(f"{len(stale)} pages are not what the records give: run 'adbench leaderboard'")
        raise typer.Exit(FAILED)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ⌈ must not cost the results
    app()
