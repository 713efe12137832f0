"""`adbench leaderboard`: the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adbench.cli import console


def leaderboard_pages(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a page is stale.")] = False,
    rank_by: Annotated[str, typer.Option(help="Metric over subjects that ranks methods.")] = "subject_auprc",
    out: Annotated[Path, typer.Option(help="Folder with the records.")] = Path("leaderboards"),
) -> None:
    """Write the pages from the records, or check that they, and the counts beside the records, say the same."""
    from adbench.results import pages
    from adbench.results.counts import check_all_counts

    console.say_left_out(out)
    stale = pages.check_pages(out, rank_by) if check else []
    if check:
        check_all_counts(out)
    for path in stale if check else pages.write_pages(out, rank_by):
        console.say(str(path))
    if stale:
        console.complain(f"{len(stale)} pages are not what the records give: run 'adbench leaderboard --out {out}'")
        raise typer.Exit(console.FAILED)
