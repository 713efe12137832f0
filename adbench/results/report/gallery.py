"""The pictures of a table: the same slices as each method sees them, with the thresholds that can be tried on them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from adbench.results.pictures import MARKS, picture_path, read_picture
from adbench.results.record import Record
from adbench.results.report.chart import rounded


def shown(label: str, record: Record, out: Path, subjects: pd.DataFrame | None) -> dict[str, Any] | None:
    """The picture of a record as the page draws it; None where none is kept.

    `png` is the file beside the record as a data URI: grey rows of inputs, lesions and scores, a column a slice.
    Raises RecordError as `read_picture`.
    """
    path = picture_path(out / record.path)
    if not path.is_file():
        return None
    picture = read_picture(path)
    known = {} if subjects is None else dict(zip(subjects["subject"], subjects["auprc"], strict=True))
    values = [rounded(known.get(name), 3) for name in picture.subjects]
    return {
        "method": label,
        "png": "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode(),
        "subjects": list(picture.subjects),
        "auprc": values,
        "shared": len(picture.shared.subjects),
        "own": own(picture.marks, values),
        "lowest": picture.lowest,
        "highest": picture.highest,
        "thresholds": thresholds(record),
    }


def own(kept: Sequence[str], values: Sequence[float | None]) -> list[tuple[str, int]]:
    """Mark and place of the method's best, median and worst slice by the AUPRC of its subject: those it kept, the last.

    Where a picture keeps none, as of two subjects, they are found among its slices: of an even number the better of the
    two in the middle is the median; slices without a number have no mark, and a slice has one alone.
    """
    if kept:
        return list(zip(kept, range(len(values) - len(kept), len(values)), strict=True))
    known = [(value, i) for i, value in enumerate(values) if value is not None]
    order = [i for _, i in sorted(known, key=lambda pair: (-pair[0], pair[1]))]
    found: dict[int, str] = {}
    if order:
        for mark, i in zip(MARKS, (order[0], order[(len(order) - 1) // 2], order[-1]), strict=True):
            found.setdefault(i, mark)
    return [(mark, i) for i, mark in found.items()]


def thresholds(record: Record) -> list[dict[str, Any]]:
    """Those the record holds, highest rate of healthy pixels last: a pixel is flagged where its score is greater."""
    if record.measurement is None:
        return []
    missing = {point.rate: point.missing for point in record.measurement.points}
    return [
        {"rate": point.rate, "threshold": point.threshold, "missing": missing.get(point.rate)}
        for point in sorted(record.measurement.froc, key=lambda point: point.rate)
    ]
