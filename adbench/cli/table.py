"""`adbench table`: results for other programs, and for papers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from adbench.cli.arguments import split_names

Format = Literal["csv", "json", "parquet", "markdown", "latex"]


def table(
    dataset: Annotated[list[str] | None, typer.Option(help="Datasets: a b, or a,b.  [default: all]")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Methods: a b, or a,b.  [default: all]")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metrics by key: a b, or a,b.  [default: all; of a page's first table]")
    ] = None,
    format: Annotated[Format, typer.Option(help="csv, json, parquet: every record; markdown, latex: means.")] = "csv",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.  [default: stdout]")] = None,
    out: Annotated[Path, typer.Option(help="Folder with the records.")] = Path("leaderboards"),
) -> None:
    """Print results: a row for each record and each device that it was timed on, or tables as a paper shows them."""
    from adbench.cli import console
    from adbench.errors import RecordError
    from adbench.results import exports
    from adbench.results.frame import read_frame

    if not (out / "records").is_dir():
        raise RecordError(
            f"Results are read from {out / 'records'}, which is no folder. Name the folder of a run with --out."
        )
    console.say_left_out(out)
    names = {key: split_names(given or []) for key, given in (("dataset", dataset), ("method", method))}
    metrics = split_names(metric or [])
    results = exports.chosen(read_frame(out), names, metrics)
    data = exports.export(results, format, metrics, out)
    if output is not None:
        exports.write(output, data)
    elif format == "parquet":
        raise RecordError("Parquet is no text: name the file that it goes into with -o FILE.")
    else:
        sys.stdout.write(data.decode())
