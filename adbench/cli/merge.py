"""`adbench merge`: records of several machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adbench.cli import console
from adbench.errors import counted


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, as their --out.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that is to hold the records of all.")],
) -> None:
    """Bring records of several machines together, and write the pages. Nothing that is there is changed."""
    from adbench.results import pages
    from adbench.results.merging import merge as merged

    for folder in (*folders, output):
        console.say_left_out(folder)
    result = merged(folders, output)
    for text in result.kept:
        console.complain(text)
    pages.write_pages(output)
    new = sum(folder != output for folder in result.records.values())
    records, times = counted(len(result.records), "record"), counted(len(result.times), "file")
    console.say(f"{output}: {records}, {new} of them new; {times} of times")
