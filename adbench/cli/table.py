"""`adbench table`: results for other programs, and for papers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from adbench.cli.arguments import Records, split_names

Format = Literal["csv", "json", "parquet", "markdown", "latex"]
ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
    ".md": "markdown",
    ".tex": "latex",
}


def table(
    dataset: Annotated[list[str] | None, typer.Option(help="Datasets: a b, or a,b.  [default: all]")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Methods: a b, or a,b.  [default: all]")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metrics by key: a b, or a,b.  [default: all; of a page's first table]")
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            help="csv, json, parquet: every record; markdown, latex: means.  [default: as -o ends, else markdown]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.  [default: stdout]")] = None,
    out: Records = Path("leaderboards"),
) -> None:
    """Print results: a row for each record and each device that it was timed on, or tables as a paper shows them."""
    from adbench.cli import console
    from adbench.errors import RecordError
    from adbench.results import exports
    from adbench.results.frame import read_frame
    from adbench.results.record import read_record, write_bytes

    console.check_results(out)
    console.say_left_out(out)
    form = format or _format_of(output)
    names = {key: split_names(given or []) for key, given in (("dataset", dataset), ("method", method))}
    metrics = split_names(metric or [])
    results = exports.chosen(read_frame(out), names, metrics)
    console.say_wrong_values(out, [read_record(out / path) for path in results["record"].unique()])
    data = exports.export(results, form, metrics, out)
    if output is not None:
        write_bytes(output, data)
    elif form == "parquet":
        raise RecordError("Parquet is no text: name the file that it goes into with -o FILE.")
    else:
        sys.stdout.write(data.decode())


def _format_of(output: Path | None) -> Format:
    """By the ending of a file; Markdown for stdout. Raises RecordError for an ending of no format."""
    from adbench.errors import RecordError

    if output is None:
        return "markdown"
    if output.suffix.lower() not in ENDINGS:
        raise RecordError(
            f"The format follows from the ending of the file, one of {', '.join(ENDINGS)}, but {output} has another: "
            "name a format with --format."
        )
    return ENDINGS[output.suffix.lower()]
