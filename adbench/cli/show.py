"""`adbench show`: one record for people."""

from __future__ import annotations

from pathlib import Path

from adbench.cli import shown
from adbench.cli.arguments import RecordName, Records


def show(
    record: RecordName,
    out: Records = Path("leaderboards"),
) -> None:
    """Print a record: its numbers with their intervals, what was run, and where."""
    from adbench.results.record import find_record, read_record
    from adbench.results.timing import times_beside

    path = find_record(record, out)
    shown.show_record(read_record(path), times_beside(path))
