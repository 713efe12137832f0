"""`adbench verify`: whether results are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adbench.cli import console
from adbench.errors import counted


def verify(
    out: Annotated[Path, typer.Argument(help="Folder with the records, as --out of a run.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as a JSON object.")] = False,
) -> None:
    """Check records against schema, hashes, images, counts and pages; exit 1 where anything is wrong."""
    from adbench.protocol.verifying import UNPROVED
    from adbench.protocol.verifying import verify as verified

    console.check_results(out)
    records, findings = verified(out)
    if as_json:
        listed = [{"file": str(finding.path), "what": finding.what} for finding in findings]
        console.say_json({"records": records, "findings": listed, "unproved": UNPROVED})
    else:
        for finding in findings:
            named = str(finding.path.relative_to(out)) in finding.what
            console.say(finding.what if named else f"{finding.path}: {finding.what}")
        console.say(f"{counted(records, 'record')} checked, {counted(len(findings), 'finding')}. Beyond proof:")
        for unproved in UNPROVED:
            console.say(f"- {unproved}")
    if findings:
        raise typer.Exit(console.FAILED)
