"""`adbench predict`: a trained model on scans of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adbench.cli import console
from adbench.cli.arguments import Device, ModelPrecision
from adbench.errors import ConfigError, counted

if TYPE_CHECKING:
    from adbench.contracts.scans import NewScan


def predict(
    model: Annotated[Path, typer.Argument(help="File of 'adbench model export'.", show_default=False)],
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="NIfTI, pictures, DICOM, BIDS, or folders.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for maps, masks, sheets and tables.")],
    at: Annotated[
        list[float] | None, typer.Option(help="Rate of healthy pixels flagged; may be repeated.  [default: 0.01]")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Which DICOM series, by number: 2, or 1,3, or all.")] = None,
    names: Annotated[
        Path | None, typer.Option(help="A private CSV outside of --out: which file each name stands for.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Score what cannot be of the model's modality.")] = False,
    device: Device = "auto",
    precision: ModelPrecision = "auto",
) -> None:
    """Score scans with a trained model: map, lesion masks, report and picture of each. Not a medical device.

    Pictures of scans with the skull on show faces, as does a map of them: treat the output as the scans themselves.
    """
    from adbench.prediction.card import NOTICE
    from adbench.prediction.many import predict_all
    from adbench.prediction.model import DEFAULT_AT, load_model
    from adbench.prediction.names import check_names, told, write_names
    from adbench.prediction.outputs import check_apart

    with console.working() as reporter:
        loaded = load_model(model, device, precision)
        scans = chosen(loaded.find(inputs), series)
        check_apart(out, inputs, scans)
        if names is not None:
            check_names(names, out, scans)
            write_names(names, scans)
        for scan in scans:
            reporter.message(told(scan))
        failures = predict_all(loaded, scans, out, tuple(at or DEFAULT_AT), force, reporter)
    console.say(f"{len(scans) - len(failures)} of {counted(len(scans), 'scan')} predicted: {out / 'predictions.csv'}")
    console.say(NOTICE)
    for failure in failures:
        console.complain(f"failed: {failure.name}: {failure.reason}")
    if failures:
        raise typer.Exit(console.FAILED)


def chosen(scans: list[NewScan], series: str | None) -> list[NewScan]:
    """All scans, or of several candidates those that are named. Raises ConfigError listing them where none is."""
    candidates = [scan for scan in scans if scan.candidate is not None]
    if (series is None and len(candidates) <= 1) or series == "all":
        return scans
    listed = "".join(f"\n  {i}: {scan.candidate}" for i, scan in enumerate(candidates, start=1))
    if series is None:
        raise ConfigError(
            f"One DICOM series is scored unless you say which, but there are: {listed}\nName by --series."
        )
    numbers = [int(text) if text.strip().isdecimal() else 0 for text in series.split(",")]
    if not all(1 <= number <= len(candidates) for number in numbers):
        raise ConfigError(f"--series names numbers of this list, or all, got {series!r}: {listed or 'it is empty'}")
    named = [candidates[number - 1] for number in dict.fromkeys(numbers)]
    return [scan for scan in scans if scan.candidate is None or scan in named]
