"""`adbench table`: all results as CSV."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def table(out: Annotated[Path, typer.Option(help="Folder with the records.")] = Path("leaderboards")) -> None:
    """Print all records and their times as CSV, one row for each record and each device that it was timed on."""
    from adbench.cli import console
    from adbench.errors import RecordError
    from adbench.results.frame import read_frame, to_csv

    if not (out / "records").is_dir():
        raise RecordError(
            f"Results are read from {out / 'records'}, which is no folder. Name the folder of a run with --out."
        )

    console.say_left_out(out)
    sys.stdout.write(to_csv(read_frame(out)))
