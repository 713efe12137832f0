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
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
from pydantic import ValidationError

from adbench.config.options import Reporter
from adbench.contracts.scans import NewScan
from adbench.errors import AdbenchError, ConfigError, DataError, ModelError
from adbench.prediction.model import Model, Prediction, Scored
from adbench.prediction.outputs import DESCRIPTION, Outputs, description, outputs_of
from adbench.prediction.report import ScanReport
from adbench.results.record import Frozen
from adbench.storage.files import write_atomic, writing
from adbench.storage.leases import Lease
from adbench.storage.store import LEASE

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
    scores_sha256: str
    """Of the file of the score map."""


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
        ConfigError: a point is unknown, or another process predicts into this folder.
        ModelError: the folder cannot be written.
    """
    points = tuple(point.key for point in model.points(at))
    with _alone(out):
        return _predicted(model, scans, out, at, points, force, reporter)


def _alone(out: Path) -> Lease:
    """The lease of a folder of predictions: files of two that write at once would not belong together."""
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        lease = Lease(out / LEASE)
        free = lease.acquire(patient=False)
    if not free:
        raise ConfigError(f"Another 'adbench predict' writes into {out}: wait for it, or name another folder by -o.")
    return lease


def _predicted(
    model: Model,
    scans: Sequence[NewScan],
    out: Path,
    at: Sequence[float],
    points: tuple[str, ...],
    force: bool,
    reporter: Reporter,
) -> list[Failure]:
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
        input_sha256=content_of(scan.files),
        points=points,
        device=model.device.type,
        precision=model.precision,
        force=force,
    )
    files = outputs_of(out, scan, points)
    earlier = _earlier(files)
    same = earlier is not None and earlier.report.model.sha256 == model.sha256
    if earlier and same and earlier.made == made and files.are_there():
        reporter.message(f"{scan.name}: done before with this model and these settings")
        return earlier.report
    before = None
    if earlier and same and earlier.made.model_copy(update={"points": points}) == made:
        before = _scored(files, earlier)
    if before is not None:
        reporter.message(f"{scan.name}: scored before with this model: masks and report are made anew")
    else:
        if files.report.is_file():
            reporter.message(f"{scan.name}: {files.report} is of another scan, model or setting: it is replaced")
        with _writing(files.scores.parent):
            files.remove()  # now: should this scan fail, what is there of another would pass for its own
    prediction = model.predict_scan(scan, at, force, before)
    _write_prediction(files, prediction, made)
    for warning in prediction.report.warnings:
        reporter.message(f"{scan.name}: warning: {warning}")
    return prediction.report


def content_of(files: Sequence[Path]) -> str:
    """SHA-256 of what the files hold, whatever they are called. Raises DataError where one cannot be read."""
    digest = hashlib.sha256()
    for path in files:
        one = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    one.update(chunk)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}): mend the link, or its permissions.") from error
        digest.update(one.digest())
    return digest.hexdigest()


def _earlier(files: Outputs) -> PredictionFile | None:
    """What was said of this scan before, where it is whole."""
    try:
        return PredictionFile.model_validate_json(files.report.read_bytes())
    except (OSError, ValidationError):
        return None


def _scored(files: Outputs, earlier: PredictionFile) -> Scored | None:
    """The score map that was written before, where it still is what was written."""
    try:
        data = files.scores.read_bytes()
        if hashlib.sha256(data).hexdigest() != earlier.scores_sha256:
            return None
        return Scored(nib.Nifti1Image.from_bytes(gzip.decompress(data)), earlier.report.slices)
    except OSError:
        return None


def _write_prediction(files: Outputs, prediction: Prediction, made: Made) -> None:
    with _writing(files.scores.parent):
        for path in (files.report, *files.masks()):  # masks of other points, or of another model, stay nowhere
            path.unlink(missing_ok=True)
    images = {files.scores: prediction.scores, **{files.lesions[key]: mask for key, mask in prediction.lesions.items()}}
    written = {path: gzip.compress(image.to_bytes(), 1, mtime=0) for path, image in images.items()}
    for path, data in written.items():
        _write(path, data)
    buffer = io.BytesIO()
    prediction.sheet.save(buffer, "PNG")
    _write(files.sheet, buffer.getvalue())
    sha256 = hashlib.sha256(written[files.scores]).hexdigest()
    content = PredictionFile(report=prediction.report, made=made, scores_sha256=sha256).model_dump(mode="json")
    _write(files.report, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _write(path: Path, data: bytes) -> None:
    with _writing(path.parent):
        write_atomic(path, data)


def _writing(folder: Path) -> AbstractContextManager[None]:
    return writing("Predictions", folder, "Name another folder with -o.", ModelError)


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
