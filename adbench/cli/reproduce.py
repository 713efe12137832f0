"""`adbench reproduce`: a record made once more."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from adbench.cli import console, shown
from adbench.cli.arguments import DataRoot, Device, PrecisionChoice, RecordName, Records
from adbench.config.options import RunOptions


def reproduce(
    record: RecordName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for what is made.")] = Path("reproduced"),
    out: Records = Path("leaderboards"),
    data_root: DataRoot = None,
    device: Device = "auto",
    precision: PrecisionChoice = "auto",
    tolerance: Annotated[float, typer.Option(min=0, help="Largest difference at which a number agrees.")] = 0.001,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came out as a JSON object.")] = False,
) -> None:
    """Train and score the cell of a record from nothing; exit 1 where a number does not come out again.

    What is made stays below the folder, so that the same command goes on where it was interrupted.
    """
    from adbench.protocol import reproducing
    from adbench.results.record import find_record, read_record

    path = find_record(record, out)
    options = RunOptions(device=device, precision=precision, data_root=data_root, out=output, cache=output / "cache")
    with console.working() as reporter:
        plan = reproducing.plan(read_record(path), options, reporter)
    if not as_json:
        shown.show_plan(path, plan)
    elif dry_run:
        console.say_json({"record": str(path), "plan": asdict(plan.forecast), "environment": plan.environment})
    if dry_run:
        return
    with console.working() as reporter:
        reproduction = reproducing.reproduce(plan, reporter, tolerance)
    if as_json:
        numbers = [vars(number) for number in reproduction.numbers]
        console.say_json({"record": str(path), "numbers": numbers, "environment": reproduction.environment})
    else:
        shown.show_reproduction(reproduction, tolerance)
    if not reproduction.succeeded:
        console.complain(f"{path}: not all numbers came out again within {tolerance:g}")
        raise typer.Exit(console.FAILED)
