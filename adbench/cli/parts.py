"""`adbench parts`: trained parts on their way to others and from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from adbench.cli import console
from adbench.cli.arguments import Cache
from adbench.config.options import default_cache
from adbench.errors import AdbenchError, ArtifactError, counted

if TYPE_CHECKING:
    from adbench.config.options import Reporter
    from adbench.storage.depot import Depot
    from adbench.storage.store import ArtifactStore

    Move = Callable[[ArtifactStore, Depot, str], int | None]

app = typer.Typer(help="Share trained parts: train once, use everywhere.", no_args_is_help=True)

Url = Annotated[
    str,
    typer.Argument(help="A folder, or s3://, gs://, ssh://, file:// (to pull also http://).", show_default=False),
]
Keys = Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Only these  [default: all]")]


@app.command()
def push(url: Url, keys: Keys = None, cache: Cache = None) -> None:
    """Put the trained parts of the cache where others find them; what is there stays.

    A part can hold what it was trained on: before you push, look at the licence of the data.
    """
    from adbench.storage import travel
    from adbench.storage.depot import Depot
    from adbench.storage.store import ArtifactStore

    with console.working() as reporter:
        store = ArtifactStore.below(cache or default_cache(), reporter.message)
        chosen = keys or travel.parts_of(store)
        if not chosen:
            raise ArtifactError(f"There are no trained parts in {store.root}: name another folder with --cache.")
        depot = Depot(url)
        moved, failures = _each(travel.push, store, depot, chosen, reporter)
    _say(moved, f"pushed to {depot.shown}", "there already", failures)


@app.command()
def pull(url: Url, keys: Keys = None, cache: Cache = None) -> None:
    """Bring trained parts into the cache, each checked before it is used. Nothing in them is executed."""
    from adbench.storage import travel
    from adbench.storage.depot import Depot
    from adbench.storage.store import ArtifactStore

    with console.working() as reporter:
        store = ArtifactStore.below(cache or default_cache(), reporter.message)
        store.check_writable()
        depot = Depot(url)
        depot.check()
        chosen = keys or travel.parts_at(depot)
        if not chosen:
            raise ArtifactError(f"There are no parts at {depot.shown}: correct the URL.")
        moved, failures = _each(travel.pull, store, depot, chosen, reporter)
    _say(moved, f"pulled from {depot.shown}", "in the cache already", failures)


def _each(
    move: Move, store: ArtifactStore, depot: Depot, keys: Sequence[str], reporter: Reporter
) -> tuple[list[int | None], list[str]]:
    """Move part after part, whatever becomes of the others: bytes (None: not needed), and what went wrong."""
    moved: list[int | None] = []
    failures: list[str] = []
    reporter.progress("parts", 0, len(keys))
    for done, key in enumerate(keys, start=1):
        try:
            moved.append(move(store, depot, key))
        except AdbenchError as error:
            failures.append(f"failed: {key}: {error}")
        reporter.progress("parts", done, len(keys))
    return moved, failures


def _say(moved: Sequence[int | None], done: str, needless: str, failures: Sequence[str]) -> None:
    """Say what was done; raise typer.Exit where something was not."""
    sizes = [size for size in moved if size is not None]
    left = len(moved) - len(sizes)
    console.say(f"{counted(len(sizes), 'part')} {done}, {sum(sizes) / 2**20:.1f} MiB; {left} {needless}")
    for failure in failures:
        console.complain(failure)
    if failures:
        raise typer.Exit(console.FAILED)
