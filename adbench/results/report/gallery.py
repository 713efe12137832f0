"""The pictures of a table: the same slices as each method sees them, with the thresholds that can be tried on them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from adbench.results.pictures import MARKS, Picture, Pixels, picture_path, read_picture
from adbench.results.record import Record
from adbench.results.report.chart import rounded

PEEKED = 3
"""Slices of the first method that stand above all else."""


@dataclass(frozen=True)
class Shown:
    """The picture of a record with what the page says of it."""

    method: str
    picture: Picture
    auprc: Sequence[float | None]
    """Of the subject of each slice."""
    thresholds: Sequence[dict[str, Any]]


def shown(label: str, record: Record, out: Path, subjects: pd.DataFrame | None) -> Shown | None:
    """The picture of a record; None where none is kept. Raises RecordError as `read_picture`."""
    path = picture_path(out / record.path)
    if not path.is_file():
        return None
    picture = read_picture(path)
    known = {} if subjects is None else dict(zip(subjects["subject"], subjects["auprc"], strict=True))
    return Shown(label, picture, [rounded(known.get(name), 3) for name in picture.subjects], thresholds(record))


def packed(pictures: Sequence[Shown]) -> dict[str, Any]:
    """Pictures as the page holds them: each slice with its lesion once, and for each method its scores.

    Images are data URIs: of a slice the input above its lesion, of a method the scores of its slices side by side.
    """
    slices: dict[str, int] = {}
    held = []
    for each in pictures:
        picture = each.picture
        both = [_uri(np.concatenate(pair)) for pair in zip(picture.inputs, picture.lesions, strict=True)]
        held.append(
            {
                "method": each.method,
                "scores": _uri(np.concatenate(list(picture.scores), axis=1)),
                "slices": [slices.setdefault(uri, len(slices)) for uri in both],
                "subjects": list(picture.subjects),
                "auprc": each.auprc,
                "shared": len(picture.shared.subjects),
                "own": own(picture.marks, each.auprc),
                "lowest": picture.lowest,
                "highest": picture.highest,
                "thresholds": each.thresholds,
            }
        )
    return {"slices": list(slices), "pictures": held}


def peek(first: Shown) -> dict[str, Any]:
    """The first slices of a picture, packed."""
    return packed([replace(first, picture=first.picture.first(PEEKED), auprc=first.auprc[:PEEKED], thresholds=[])])


def _uri(pixels: Pixels) -> str:
    """Grey levels (H, W) as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def own(kept: Sequence[str], values: Sequence[float | None]) -> list[tuple[str, int]]:
    """Mark and place of the method's best, median and worst slice by the AUPRC of its subject: those it kept, the last.

    Where a picture keeps none, as of two subjects, they are found among its slices: of an even number the better of the
    two in the middle is the median; slices without a number have no mark, and a slice has one alone.
    """
    if kept:
        return list(zip(kept, range(len(values) - len(kept), len(values)), strict=True))
    known = [(value, i) for i, value in enumerate(values) if value is not None]
    order = [i for _, i in sorted(known, key=lambda pair: (-pair[0], pair[1]))]
    marks: dict[int, str] = {}
    if order:
        for mark, i in zip(MARKS, (order[0], order[(len(order) - 1) // 2], order[-1]), strict=True):
            marks.setdefault(i, mark)
    return [(mark, i) for i, mark in marks.items()]


def thresholds(record: Record) -> list[dict[str, Any]]:
    """Those the record holds, highest rate of healthy pixels last: a pixel is flagged where its score is greater."""
    if record.measurement is None:
        return []
    missing = {point.rate: point.missing for point in record.measurement.points}
    return [
        {"rate": point.rate, "threshold": point.threshold, "missing": missing.get(point.rate)}
        for point in sorted(record.measurement.froc, key=lambda point: point.rate)
    ]
