"""Predictions of many scans in a folder: resumed where they were cut off, and no broken scan stops the others.

<out>/predictions.csv has one row a scan; where the files of each lie, `outputs` says.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from adbench.config.options import Reporter
from adbench.contracts.scans import NewScan
from adbench.errors import AdbenchError, ConfigError, ModelError
from adbench.prediction.model import Model, Prediction
from adbench.prediction.outputs import DESCRIPTION, Outputs, description, outputs_of
from adbench.prediction.report import ScanReport
from adbench.results.record import Frozen
from adbench.storage.files import write_atomic, writing

TABLE = "predictions.csv"
CHUNK = 1 << 20


class Made(Frozen):
    """From what a prediction was made: one of the same is not made again."""

    input_sha256: str
    points: tuple[str, ...]
    device: str
    precision: str
    force: bool


class PredictionFile(Frozen):
    """The file `prediction.json`."""

    report: ScanReport
    made: Made


@dataclass(frozen=True)
class Failure:
    """A scan that could not be predicted."""

    name: str
    reason: str


def predict_all(
    model: Model, scans: Sequence[NewScan], out: Path, at: Sequence[float], force: bool, reporter: Reporter
) -> list[Failure]:
    """Predict scans and write what is said of them below `out`; return those that failed, with the reason.

    Raises:
        ConfigError: a point is unknown.
        ModelError: the folder cannot be written.
    """
    points = tuple(point.key for point in model.points(at))
    rows: dict[str, ScanReport | None] = {}
    failures: list[Failure] = []
    if any(scan.bids is not None for scan in scans):
        _write(out / DESCRIPTION, description(model.card.method, model.card.trained_on.name))
    reporter.progress("scans", 0, len(scans))
    for done, scan in enumerate(scans, start=1):
        try:
            rows[scan.name] = _one(model, scan, out, at, points, force, reporter)
        except (ConfigError, ModelError):
            raise
        except Exception as error:  # of whatever kind: the other scans go on
            said = str(error) if isinstance(error, AdbenchError) else f"{type(error).__name__}: {error}"
            failures.append(Failure(scan.name, " ".join(said.split())))
            rows[scan.name] = None
        _write(out / TABLE, _table(rows, points).encode())
        reporter.progress("scans", done, len(scans))
    return failures


def _one(
    model: Model,
    scan: NewScan,
    out: Path,
    at: Sequence[float],
    points: tuple[str, ...],
    force: bool,
    reporter: Reporter,
) -> ScanReport:
    made = Made(
        input_sha256=_content(scan.files),
        points=points,
        device=model.device.type,
        precision=model.precision,
        force=force,
    )
    files = outputs_of(out, scan, points)
    if (report := _done(files, made, model.sha256)) is not None:
        reporter.message(f"{scan.name}: done before with this model and these settings")
        return report
    if files.report.is_file():
        reporter.message(f"{scan.name}: {files.report} is of another scan, model or setting: it is replaced")
    prediction = model.predict_scan(scan, at, force)
    _write_prediction(files, prediction, made)
    for warning in prediction.report.warnings:
        reporter.message(f"{scan.name}: warning: {warning}")
    return prediction.report


def _content(files: Sequence[Path]) -> str:
    """SHA-256 of what the files hold, whatever they are called."""
    digest = hashlib.sha256()
    for path in files:
        one = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                one.update(chunk)
        digest.update(one.digest())
    return digest.hexdigest()


def _done(files: Outputs, made: Made, sha256: str) -> ScanReport | None:
    """What was written before, where it is whole and of the same."""
    try:
        earlier = PredictionFile.model_validate_json(files.report.read_bytes())
    except (OSError, ValidationError):
        return None
    same = earlier.made == made and earlier.report.model.sha256 == sha256
    return earlier.report if same and files.are_there() else None


def _write_prediction(files: Outputs, prediction: Prediction, made: Made) -> None:
    files.report.unlink(missing_ok=True)
    images = {files.scores: prediction.scores, **{files.lesions[key]: mask for key, mask in prediction.lesions.items()}}
    for path, image in images.items():
        _write(path, gzip.compress(image.to_bytes(), 1, mtime=0))
    buffer = io.BytesIO()
    prediction.sheet.save(buffer, "PNG")
    _write(files.sheet, buffer.getvalue())
    content = PredictionFile(report=prediction.report, made=made).model_dump(mode="json")
    _write(files.report, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _write(path: Path, data: bytes) -> None:
    with writing("Predictions", path.parent, "Name another folder with -o.", ModelError):
        write_atomic(path, data)


def _table(rows: dict[str, ScanReport | None], points: Sequence[str]) -> str:
    """predictions.csv; a scan that failed has its name and that it failed, since reasons may name files."""
    of_points = [f"{key}:{name}" for key in points for name in ("voxels", "ml", "components")]
    columns = ["scan", "status", "mean", "percentile_99", "highest", *of_points, "histogram_distance", "warnings"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for name, report in rows.items():
        writer.writerow({"scan": name, "status": "failed"} if report is None else _row(report))
    return text.getvalue()


def _row(report: ScanReport) -> dict[str, Any]:
    row: dict[str, Any] = {"scan": report.name, "status": "ok", **report.scores.model_dump()}
    for point in report.points:
        row |= {f"{point.key}:voxels": point.voxels, f"{point.key}:ml": point.ml}
        row[f"{point.key}:components"] = point.n_components
    return {**row, "histogram_distance": report.likeness.histogram_distance, "warnings": len(report.warnings)}
