"""The command `adbench`: results go to stdout, progress to stderr.

Exit codes: 0 done; 1 a run failed, or a page is stale; 2 the command cannot be carried out as given; 130
interrupted. Whatever needs torch is imported inside the command that needs it, so that listing stays quick.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer import rich_utils
from typer.core import TyperGroup

from adbench.cli import cache, console, data, model, new, parts, suite
from adbench.cli.arguments import SeveralCommand, at_home
from adbench.cli.calibrate import calibrate
from adbench.cli.compare import compare
from adbench.cli.leaderboard import leaderboard_pages
from adbench.cli.merge import merge
from adbench.cli.plugins import info, list_plugins
from adbench.cli.predict import predict
from adbench.cli.report import report
from adbench.cli.reproduce import reproduce
from adbench.cli.run import run
from adbench.cli.show import show
from adbench.cli.table import table
from adbench.cli.time import time
from adbench.cli.tune import tune
from adbench.cli.verify import verify
from adbench.errors import AdbenchError


@contextmanager
def _shown_errors() -> Iterator[None]:
    """Show what a user can mend as its message alone; anything else is a bug and keeps its traceback."""
    try:
        yield
    except AdbenchError as error:
        console.complain(f"error: {error}")
        raise typer.Exit(console.USAGE) from None
    except KeyboardInterrupt:
        console.complain("interrupted; finished parts and checkpoints are kept, the same command continues")
        raise typer.Exit(console.INTERRUPTED) from None


class _Group(TyperGroup):
    """All commands, with errors shown one way."""

    def main(self, *args: Any, **named: Any) -> Any:
        rich_utils.MAX_WIDTH = console.out().width  # of help and usage errors, which a wide terminal would stretch
        return super().main(*args, **named)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, at_home(args))

    def invoke(self, ctx: Any) -> Any:
        with _shown_errors():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Group,
    name="adbench",
    help="Benchmark of unsupervised brain anomaly detectors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
app.add_typer(new.app, name="new")
app.add_typer(cache.app, name="cache")
app.add_typer(model.app, name="model")
app.add_typer(parts.app, name="parts")
app.add_typer(suite.app, name="suite")
app.command("list")(list_plugins)
app.command()(info)
app.command(cls=SeveralCommand)(run)
app.command(cls=SeveralCommand)(tune)
app.command("leaderboard")(leaderboard_pages)
app.command()(merge)
app.command(cls=SeveralCommand)(table)
app.command(cls=SeveralCommand)(time)
app.command()(show)
app.command()(verify)
app.command()(reproduce)
app.command()(predict)
app.command()(calibrate)
app.command(cls=SeveralCommand)(compare)
app.command()(report)


def _version(wanted: bool) -> None:
    if wanted:
        from adbench import __version__

        console.say(f"adbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Benchmark of unsupervised brain anomaly detectors."""


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ⌈ must not cost the results
    app()
