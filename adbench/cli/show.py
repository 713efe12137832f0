"""`adbench show`: one record for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adbench.cli import shown


def show(
    record: Annotated[Path, typer.Argument(help="File of a record, as the pages link to it.", show_default=False)],
) -> None:
    """Print a record: its numbers with their intervals, what was run, and where."""
    from adbench.results.record import read_record
    from adbench.results.timing import times_beside

    shown.show_record(read_record(record), times_beside(record))
