"""`adbench report`: results as HTML."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adbench.cli import console
from adbench.cli.arguments import Records

if TYPE_CHECKING:
    from adbench.results.record import Record


def report(
    folder: Annotated[Path, typer.Option("-o", "--output", help="Folder of the report.", show_default=False)],
    out: Records = Path("leaderboards"),
    include_restricted: Annotated[
        bool, typer.Option("--include-restricted", help="Show pictures that may not be passed on, for your own eyes.")
    ] = False,
) -> None:
    """Write a report that opens in a browser from disk: leaderboard, charts, pictures and provenance."""
    from adbench.results.record import read_records
    from adbench.results.report.site import write_report

    console.say_left_out(out)
    console.say_wrong_values(out, read_records(out))

    def notice(record: Record) -> str | None:
        of_set = _notice(record.dataset.plugin)
        return (
            "Some of its images may not be passed on: keep this page to yourself."
            if (of_set is None and include_restricted)
            else of_set
        )

    console.say(str(write_report(out, folder, notice)[0]))


@cache
def _notice(dataset: str) -> str | None:
    """The notice under which pictures of a dataset may be shown; None where they may not, or its plugin is missing."""
    from adbench.contracts.registry import load_dataset
    from adbench.errors import AdbenchError

    try:
        return load_dataset(dataset).cls.info.pictures or None
    except AdbenchError:
        return None
