"""Compact counts beside each record, from which its pooled numbers can be checked without images.

`<confighash>-seed<k>.counts.npz` holds lesion and other pixels of each subject in at most 512 bins of scores, and the
edges of the bins. Nothing in it is unpickled.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adbench.errors import RecordError
from adbench.metrics.bins import Bins
from adbench.metrics.curve import Curve
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.intervals import Bounded, bootstrap, resample_weights
from adbench.metrics.maps import ordered, value_of
from adbench.results.record import Record, read_records, write_bytes

FIELDS = ("edges", "subjects", "positives", "negatives")
MOST_BYTES = 100_000
"""Of a file: bins are joined two by two until it is no larger."""
_ROUNDING = 1e-9


def counts_path(record: Path) -> Path:
    return record.with_suffix(".counts.npz")


def write_counts(hist: ScoreHistogram, path: Path) -> None:
    """Write the counts by subject. Raises RecordError where the folder cannot be written."""
    coarse = hist.coarse()
    while len(data := _packed(coarse)) > MOST_BYTES and coarse.bins.edges.size > 1:
        coarse = coarse.joined()
    write_bytes(path, data)


def _packed(hist: ScoreHistogram) -> bytes:
    positives, negatives = hist.by_subject()
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        edges=value_of(hist.bins.edges),
        subjects=np.array(hist.subjects, dtype=np.str_),
        positives=positives.astype(np.uint32),
        negatives=negatives.astype(np.uint32),
    )
    return buffer.getvalue()


def read_counts(path: Path) -> ScoreHistogram:
    """The counts, each coarse bin one fine bin. Raises RecordError naming a file that is missing or damaged."""
    edges, subjects, positives, negatives = _arrays(path)
    try:
        bins = Bins(ordered(edges.astype(np.float32)), np.ones(edges.size, bool))
        return ScoreHistogram.from_counts(bins, [str(s) for s in subjects], np.stack([positives, negatives]))
    except ValueError as error:
        raise _unreadable(path, error) from error


def same_counts(a: Path, b: Path) -> bool:
    """Whether two files hold the same, however compressed. Raises as `read_counts`."""
    return a.read_bytes() == b.read_bytes() or all(map(np.array_equal, _arrays(a), _arrays(b)))


def _arrays(path: Path) -> list[NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as held:
            return [held[key] for key in FIELDS]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> RecordError:
    return RecordError(f"The counts {path} cannot be read ({error}): run that cell again with --force.")


def check_all_counts(out: Path, intervals: bool = True) -> int:
    """Check the records below `out` that succeeded, and return how many there are; values alone are ten times faster.

    Raises RecordError as `read_counts` and `check_counts`.
    """
    records, check = read_records(out), check_counts if intervals else check_values
    for record in records:
        if record.status == "ok":
            check(record, read_counts(counts_path(out / record.path)))
    return len(records)


def wrong_values(out: Path, records: Iterable[Record]) -> list[str]:
    """What `check_values` and `read_counts` say of records, a sentence each; nothing of those that are as they should.

    Records that failed have no values.
    """
    said = []
    for record in records:
        try:
            if record.status == "ok":
                check_values(record, read_counts(counts_path(out / record.path)))
        except RecordError as error:
            said.append(str(error))
    return said


def check_counts(record: Record, hist: ScoreHistogram) -> None:
    """Raise RecordError where a pooled number of the record, or its interval, is not what the counts give.

    The counts bound each number: that of the record must lie within, and so must the ends of its interval.
    """
    bounds = check_values(record, hist)
    weights = resample_weights(hist.subjects, record.measurement.bootstrap_resamples if record.measurement else 1)
    intervals = bootstrap(hist, weights, {key: record.metrics[key].value for key in bounds}) if bounds else {}
    for key in bounds:
        _check_interval(record, key, intervals[key])


def check_values(record: Record, hist: ScoreHistogram) -> list[str]:
    """The keys of the pooled numbers without a threshold that the counts bound.

    Raises RecordError for a pooled number, at an operating point too, that is not what they give.
    """
    if not hist.positives:
        return []
    curve = Curve.of(hist)
    dice, (auprc, auprc_bound) = curve.dice().max(), curve.auprc()
    bounds = {"best_dice": (dice, curve.dice_bound().max()), "auprc": (auprc - auprc_bound, auprc + auprc_bound)}
    if hist.negatives:
        auroc, auroc_bound = curve.auroc()
        bounds["auroc"] = (auroc - auroc_bound, auroc + auroc_bound)
    for key, (least, most) in {**bounds, **_at_points(record, hist)}.items():
        value = record.metrics[key].value if key in record.metrics else None
        if value is None or not least - _ROUNDING <= value <= most + _ROUNDING:
            raise RecordError(
                f"{record.path}: {key} is {value}, but the counts beside it give {least:.4f} to {most:.4f}. One of the "
                "two files is of another run: run that cell again with --force."
            )
    return list(bounds)


def _at_points(record: Record, hist: ScoreHistogram) -> dict[str, tuple[float, float]]:
    """Least and largest Dice and sensitivity at each operating point: its threshold may part the pixels of one bin."""
    pos, neg = hist.pooled()
    bounds = {}
    for point in record.measurement.points if record.measurement else ():
        if point.missing is None:
            at = int(hist.bins.find(ordered(np.array([point.threshold], np.float32)))[0])
            tp, fp, lesion = int(pos[at + 1 :].sum()), int(neg[at + 1 :].sum()), int(pos.sum())
            most = tp + int(pos[at])
            worst = 2 * tp / (lesion + tp + fp + int(neg[at]))
            bounds[f"dice_{point.key}"] = (worst, 2 * most / (lesion + most + fp))
            bounds[f"sensitivity_{point.key}"] = (tp / lesion, most / lesion)
    return bounds


def _check_interval(record: Record, key: str, ours: Bounded) -> None:
    theirs = record.measurement.interval_error_bound.get(key, 0.0) if record.measurement else 0.0  # by its own bins
    estimate, bound = record.metrics[key], ours.error_bound + theirs + _ROUNDING
    pairs = zip((estimate.low, estimate.high), ours.interval or (None, None), strict=True)
    if any((a is None) != (b is None) or (a is not None and b is not None and abs(a - b) > bound) for a, b in pairs):
        raise RecordError(
            f"{record.path}: the interval of {key} is {estimate.low} to {estimate.high}, but the counts beside it give "
            f"{ours.interval}. One of the two files is of another run: run that cell again with --force."
        )
