"""`adbench calibrate`: a model's thresholds for one site, from its own healthy scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adbench.cli import console
from adbench.cli.arguments import Device, ModelPrecision


def calibrate(
    model: Annotated[Path, typer.Argument(help="File of 'adbench model export'.", show_default=False)],
    healthy: Annotated[
        list[Path], typer.Argument(metavar="HEALTHY...", help="Scans of healthy people, one each.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The model file to write.")],
    device: Device = "auto",
    precision: ModelPrecision = "auto",
) -> None:
    """Set a model's operating points on a site's own healthy scans; nothing is trained. Not a medical device."""
    from adbench.prediction.calibrate import calibrate as write
    from adbench.prediction.calibrate import scans_needed
    from adbench.prediction.model import Model
    from adbench.prediction.model_file import read_model

    with console.working() as reporter:
        file = read_model(model)
        loaded = Model(file, device, precision)
        card = write(file, loaded, loaded.find(healthy), out, reporter)
    assert card.calibration is not None  # written just now
    rows = []
    for before, point in zip(file.card.points, card.points, strict=True):
        held_out = card.calibration.held_out[point.key]
        span = "" if held_out.low is None else f" (95 % interval {held_out.low:.2g} to {held_out.high:.2g})"
        needed = scans_needed(point.rate, held_out, card.calibration.scans)
        enough = "not known from these" if needed is None else f"about {needed}"
        text = (
            f"threshold {point.threshold:.6g}, before {before.threshold:.6g}; in a scan left out {held_out.value:.2g}"
        )
        rows.append((f"--at {point.rate:g}", f"{text}{span}; scans for an interval as wide as the rate: {enough}"))
        if point.missing:
            rows.append(("", f"not supported: {point.missing}"))
    console.show_facts(rows, f"{out}: calibrated on {card.calibration.scans} healthy scans")
