"""`adbench cache`: what is kept below the cache folder."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from adbench.cli import console
from adbench.cli.arguments import Cache

app = typer.Typer(help="Look after the cache.", no_args_is_help=True)


@app.callback()
def _cache() -> None:
    """Look after the cache."""


@app.command()
def prune(
    cache: Cache = None, dry_run: Annotated[bool, typer.Option("--dry-run", help="Say it, remove nothing.")] = False
) -> None:
    """Remove kept score maps; trained parts and prepared images stay. Measuring by other rules then scores anew."""
    from adbench.config.options import default_cache
    from adbench.storage.store import ArtifactStore

    kept = sorted(ArtifactStore.below(cache or default_cache()).root.glob("scores-*"))
    size = sum(file.stat().st_size for folder in kept for file in folder.rglob("*") if file.is_file())
    for folder in kept if not dry_run else ():
        shutil.rmtree(folder, ignore_errors=True)
    done = "would be removed" if dry_run else "removed"
    console.say(f"{len(kept)} batches of score maps {done}, {size / 2**20:.1f} MiB")
