"""`adbench leaderboard`: the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adbench.cli import console
from adbench.cli.arguments import Records
from adbench.errors import PluginError, RecordError, counted


def leaderboard_pages(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a page is stale.")] = False,
    cards: Annotated[
        bool, typer.Option("--cards", help="First write anew what all installed methods say of themselves.")
    ] = False,
    rank_by: Annotated[str, typer.Option(help="Metric over subjects that ranks methods.")] = "subject_auprc",
    out: Records = Path("leaderboards"),
) -> None:
    """Write the pages from the records, or check that they, and the counts beside the records, say the same.

    Nothing is written from records whose values are not what their counts give; a check looks at intervals too.
    """
    from adbench.results import pages
    from adbench.results.counts import check_all_counts

    if cards and check:
        raise RecordError("A check writes nothing: give --cards or --check, not both.")
    console.check_results(out)
    console.say_left_out(out)
    n = check_all_counts(out, intervals=check)
    if cards:
        _write_cards(out)
    paths = pages.check_pages(out, rank_by) if check else pages.write_pages(out, rank_by)
    for path in paths:
        console.say(str(path))
    if check and paths:
        are = "page is" if len(paths) == 1 else "pages are"
        console.complain(f"{len(paths)} {are} not what the records give: run 'adbench leaderboard --out {out}'")
        raise typer.Exit(console.FAILED)
    if check:
        console.say(f"{counted(n, 'record')}, pages as they should be")


def _write_cards(out: Path) -> None:
    """Of all methods that can be loaded; what is wrong with the others is said."""
    from adbench.contracts import registry
    from adbench.protocol.recording import method_card
    from adbench.results.method_card import method_card_path, write_method_card

    for entry in registry.names(registry.DETECTORS):
        try:
            card = method_card(registry.load_detector(entry.name).cls)
            write_method_card(card, out / method_card_path(entry.name))
        except PluginError as error:
            console.complain(str(error))
