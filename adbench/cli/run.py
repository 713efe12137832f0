"""`adbench run`: train and measure methods on datasets, or say what that would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adbench.cli import console, shown
from adbench.cli.arguments import (
    Cache,
    DataRoot,
    Depot,
    Devices,
    PrecisionChoice,
    Preset,
    Seed,
    Settings,
    TrainOn,
    VerifyData,
    split_names,
)
from adbench.config.options import RunOptions, default_cache
from adbench.config.presets import check_preset
from adbench.contracts import registry
from adbench.errors import UnknownPluginError

if TYPE_CHECKING:
    from adbench.results.record import Record


def run(
    method: Annotated[list[str], typer.Option(help="One or more methods: a b, or a,b.", show_default=False)],
    dataset: Annotated[
        list[str] | None, typer.Option(help="One or more datasets: a b, or a,b.  [default: phantom]")
    ] = None,
    train_on: TrainOn = None,
    data_root: DataRoot = None,
    preset: Preset = "small",
    seed: Seed = 0,
    device: Devices = "auto",
    precision: PrecisionChoice = "auto",
    settings: Settings = None,
    out: Annotated[Path, typer.Option(help="Folder for records and pages.")] = Path("leaderboards"),
    cache: Cache = None,
    verify_data: VerifyData = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as a JSON array.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what a run would take and do nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run again where a record exists.")] = False,
    parts: Depot = None,
    tuned: Annotated[
        str | None, typer.Option(metavar="STUDY[#TRIAL]", help="Use the settings that a study found.")
    ] = None,
    storage: Annotated[str | None, typer.Option(help="Where it is kept  [default: SQLite in the cache]")] = None,
) -> None:
    """Train and measure methods on datasets, write their records and the pages."""
    methods = _named(method, "method", registry.DETECTORS)
    datasets = _named(dataset or ["phantom"], "dataset", registry.DATASETS)
    if train_on:
        registry.find(registry.DATASETS, train_on)
    check_preset(preset)  # names are checked before anything brings torch: a slip of the pen is answered at once
    options = RunOptions(
        preset=preset,
        seed=seed,
        device=device,
        precision=precision,
        settings=tuple(settings or ()),
        out=out,
        data_root=data_root,
        force=force,
        train_on=train_on,
        cache=cache or default_cache(),
        verify_data=verify_data,
        parts=parts,
    )
    if tuned:
        from adbench.tuning.tuned import settings_for_run

        texts, tuning = settings_for_run(tuned, storage, options, methods, datasets)
        options = replace(options, settings=texts, tuning=tuning)
    if dry_run:
        _forecast(methods, datasets, options, as_json)
    else:
        _run(methods, datasets, options, as_json)


def _named(given: Sequence[str], noun: str, group: str) -> list[str]:
    """Split comma lists, drop repetitions, and look the names up."""
    names = split_names(given)
    if not names:
        raise UnknownPluginError(f"A run needs a {noun}, but --{noun} is empty. Run 'adbench list {noun}s'.")
    for name in names:
        registry.find(group, name)
    return names


def _forecast(methods: Sequence[str], datasets: Sequence[str], options: RunOptions, as_json: bool) -> None:
    from adbench.protocol import forecast

    with console.working() as reporter:
        cells = forecast.forecast(methods, datasets, options, reporter)
    if as_json:
        console.say_json([asdict(cell) for cell in cells])
    else:
        console.show_forecast(cells)


def _run(methods: Sequence[str], datasets: Sequence[str], options: RunOptions, as_json: bool) -> None:
    from adbench.protocol import harness
    from adbench.results import pages
    from adbench.results.frame import frame
    from adbench.results.method_card import read_method_cards

    # Plugins and their libraries may print: stdout is kept for the results.
    with console.working() as reporter:
        records = harness.run(methods, datasets, options, reporter)
    if as_json:
        console.say_json([record.model_dump(mode="json") for record in records])
    else:
        cards = read_method_cards(options.out)
        shown.show_results(frame(records, harness.times_here(records, options), cards), options.out)
    console.say_left_out(options.out)
    written = pages.write_pages(options.out)
    if not as_json:
        _name_pictures(records, written, options.out)
    _report_failures(records)


def _name_pictures(records: Sequence[Record], written: Sequence[Path], out: Path) -> None:
    """Name the pictures beside the records, and the figures made from them."""
    from adbench.results.pictures import picture_path

    for record in records:
        if (path := picture_path(out / record.path)).is_file():
            console.say(f"Slices, lesions and score maps of {record.detector.name} on {record.dataset.name}: {path}")
    names = {record.dataset.name for record in records}
    for path in written:
        if path.suffix == ".png" and path.stem in names:
            console.say(f"Score maps of the best methods: {path}")


def _report_failures(records: Sequence[Record]) -> None:
    """Say in one line each what did not run; raise typer.Exit where a run failed."""
    for record in records:
        if record.status != "ok":
            reason = " ".join((record.reason or "no reason given").split())
            console.complain(f"{record.status}: {record.detector.name} on {record.dataset.name}: {reason}")
    if any(record.status == "failed" for record in records):
        raise typer.Exit(console.FAILED)
