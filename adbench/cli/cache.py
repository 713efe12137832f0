"""`adbench cache`: what is kept below the cache folder."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adbench.cli import console
from adbench.cli.arguments import Cache
from adbench.config.options import default_cache
from adbench.errors import ConfigError, counted

if TYPE_CHECKING:
    from adbench.storage.inventory import CacheEntry

app = typer.Typer(help="Look after the cache.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="Folder with the records that say which part is of which method.")]
HOURS = {"h": 1, "d": 24, "w": 7 * 24}


@app.callback()
def _cache() -> None:
    """Look after the cache."""


@app.command("list")
def list_cache(
    cache: Cache = None,
    out: Out = Path("leaderboards"),
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Show what is kept: what it is, for which method and data, its size, and when it was last used."""
    from adbench.storage.inventory import entries

    kept, users = entries(cache or default_cache()), _users(out)
    made_for = {entry.place: ", ".join(sorted({entry.made_for, *users[entry.name]} - {""})) for entry in kept}
    if as_json:
        rows = [
            (entry.category.value, entry.name, made_for[entry.place], entry.bytes, _day(entry.used)) for entry in kept
        ]
        console.say_json([dict(zip(("kind", "name", "for", "bytes", "last_used"), row, strict=True)) for row in rows])
        return
    console.show_rows(("what", "name", "for", "size", "last used"), _grouped(kept, made_for), 3)
    console.say(f"{_mebibytes(kept)} in {cache or default_cache()}")


def _users(out: Path) -> defaultdict[str, set[str]]:
    """Key of a part -> "method on dataset" of the records that were made with it."""
    from adbench.results.record import read_records

    users: defaultdict[str, set[str]] = defaultdict(set)
    for record in read_records(out):
        trained_on = (record.dataset.train_on or record.dataset).name
        for key in record.detector.artifacts.values():
            users[key].add(f"{record.detector.name} on {trained_on}")
    return users


def _grouped(kept: Sequence[CacheEntry], made_for: dict[Path, str]) -> list[tuple[str, ...]]:
    """Rows of a table: score maps and maps of trials by what they are for, all else one by one."""
    from adbench.storage.inventory import Category

    groups: defaultdict[tuple[str, ...], list[CacheEntry]] = defaultdict(list)
    for entry in kept:
        many = entry.category in (Category.scores, Category.trials)
        groups[entry.category, "" if many else entry.name, made_for[entry.place] or "unknown"].append(entry)
    return [
        (category, name or counted(len(of), "file"), what, _mebibytes(of), _day(max(entry.used for entry in of)))
        for (category, name, what), of in groups.items()
    ]


@app.command()
def prune(
    cache: Cache = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="30d", help="All that was not used for so long: h, d or w  [default: no limit]"),
    ] = None,
    keep_records: Annotated[bool, typer.Option("--keep-records", help="Keep the parts that records name.")] = False,
    out: Out = Path("leaderboards"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say it, remove nothing.")] = False,
) -> None:
    """Remove kept score maps, or with --older-than all that was not used for long, trained parts too.

    What another process uses or makes stays.
    """
    from adbench.storage.inventory import Category, entries

    there = entries(cache or default_cache())
    if older_than is None:
        chosen = [entry for entry in there if entry.category == Category.scores]
    else:
        before = time.time() - _seconds(older_than)
        chosen = [entry for entry in there if entry.used < before]
    if keep_records:
        kept = _users(out)
        if not kept:
            raise ConfigError(f"Parts of records are to stay, but {out} has no record with parts: name it with --out.")
        chosen = [entry for entry in chosen if entry.name not in kept]
    removed = chosen if dry_run else [entry for entry in chosen if entry.remove()]
    for category in Category:
        of = [entry for entry in removed if entry.category == category]
        if of or category == Category.scores:
            done = "would be removed" if dry_run else "removed"
            console.say(f"{category}: {len(of)} {done}, {_mebibytes(of)}")
    if len(removed) < len(chosen):
        console.say(f"{len(chosen) - len(removed)} in use by another process: left")


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)([hdw])", text.strip())
    if not match:
        raise ConfigError(f"--older-than is a whole number of h, d or w, such as 30d, got {text!r}.")
    return int(match[1]) * HOURS[match[2]] * 3600.0


@app.command()
def verify(cache: Cache = None) -> None:
    """Read all trained parts, checkpoints and score maps against their hashes; exit 1 where one is damaged."""
    from adbench.storage.inventory import faults

    checked, damaged = 0, 0
    for key, fault in faults(cache or default_cache()):
        checked += 1
        if fault:
            damaged += 1
            console.say(f"{key}: {fault}")
    console.say(f"{checked} checked, {damaged} damaged" + (": a run that needs one makes it again" if damaged else ""))
    if damaged:
        raise typer.Exit(console.FAILED)


def _mebibytes(kept: Sequence[CacheEntry]) -> str:
    return f"{sum(entry.bytes for entry in kept) / 2**20:.1f} MiB"


def _day(used: float) -> str:
    return datetime.fromtimestamp(used).strftime("%Y-%m-%d %H:%M")
