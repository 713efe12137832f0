"""`adbench time`: measure the times of existing records anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adbench.cli import console
from adbench.cli.arguments import Cache, DataRoot, Device, PrecisionChoice, Records, split_names
from adbench.config.options import RunOptions, default_cache


def time(
    method: Annotated[list[str] | None, typer.Option(help="Methods: a b, or a,b.  [default: all with records]")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Datasets: a b, or a,b.  [default: all with records]")
    ] = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    precision: PrecisionChoice = "auto",
    slices: Annotated[
        int | None, typer.Option(min=1, help="Slices in the minibatch  [default: as the preset of the record says]")
    ] = None,
    out: Records = Path("leaderboards"),
    cache: Cache = None,
) -> None:
    """Measure the times of existing records anew on this device, without training or scoring."""
    from adbench.protocol import retiming
    from adbench.results import pages

    options = RunOptions(
        device=device, precision=precision, out=out, data_root=data_root, cache=cache or default_cache()
    )
    names = split_names(method or []), split_names(dataset or [])
    with console.working() as reporter:
        times, failures = retiming.time_records(*names, options, reporter, slices)
    for each in times:
        console.say(f"{each.record}: {each}")
    pages.write_pages(out)
    for failure in failures:
        console.complain(f"failed: {failure}")
    if failures:
        raise typer.Exit(console.FAILED)
