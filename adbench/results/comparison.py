"""Two methods, or two runs of one, on the same subjects: what differs, by how much, and whether that is chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adbench.config.nested import flat
from adbench.errors import RecordError
from adbench.metrics.chance import ALPHA, holm, sign_flip_p
from adbench.metrics.differences import PooledDifference, pooled_differences
from adbench.metrics.estimate import Estimate
from adbench.metrics.intervals import resample_weights
from adbench.results.counts import counts_path, read_counts
from adbench.results.record import Record
from adbench.results.scan_metrics import FIELDS
from adbench.results.subjects import SEPARATOR, read_subjects, subjects_path

COUNTS = ("images", "scans", "lesion_pixels", "lesion_voxels", "unseen_voxels", "lesions", "components", "perfect_dice")
"""Columns of the files of subjects that judge no method."""
FLIPS, RESAMPLES = 100_000, 4_999
SHOWN = 5
"""Subjects that differ most."""
Side = Sequence[tuple[Path, Record]]
"""(folder, record) of each seed."""


@dataclass(frozen=True)
class Difference:
    """One metric, subject by subject or, as `pooled:<key>`, over all pixels pooled."""

    metric: str
    subjects: int
    a: float
    b: float
    difference: Estimate
    """a - b."""
    p: float
    """Of sign flips over subjects, of pooled metrics of a recentred bootstrap; corrected by Holm over all metrics."""
    better: bool
    """Whether more of it is better."""

    @property
    def worse(self) -> bool:
        """Whether a is worse than b by more than chance."""
        return self.p <= ALPHA and (self.a < self.b) is self.better


@dataclass(frozen=True)
class Comparison:
    """Two sides with one or several seeds each."""

    differences: Sequence[Difference]
    largest: pd.DataFrame
    """The subjects that differ most in AUPRC: subject, a, b."""
    settings: dict[str, tuple[Any, Any]]
    """Setting -> values of a and of b, where they differ."""


def compare(a: Side, b: Side) -> Comparison:
    """Compare the records of two sides.

    Raises RecordError where they measured other images or by other rules, or have no subject in common.
    """
    check_comparable([record for _, record in (*a, *b)])
    ours, theirs = _by_subject(a), _by_subject(b)
    if not ours.index.equals(theirs.index):
        raise RecordError(
            "A comparison needs the same subjects on both sides: run one of the cells again with --force."
        )
    pooled = _pooled(a, b)
    judged = [column for column in ours if column in theirs and column.split(SEPARATOR)[-1] not in COUNTS]
    paired = {column: (ours[column] - theirs[column]).dropna() for column in judged}
    paired = {column: values for column, values in paired.items() if len(values) > 1}
    flipped = [float(sign_flip_p(values.to_numpy(), FLIPS)) for values in paired.values()]
    p = holm([*flipped, *(each.p for each in pooled.values())])
    differences = [
        Difference(
            metric=column,
            subjects=len(values),
            a=float(ours.loc[values.index, column].mean()),
            b=float(theirs.loc[values.index, column].mean()),
            difference=Estimate.of_mean(values.tolist(), "difference"),
            p=of,
            better=(field := FIELDS.get(column.split(SEPARATOR)[-1])) is None or field.higher_is_better,
        )
        for (column, values), of in zip(paired.items(), p[: len(paired)], strict=True)
    ]
    for (key, each), of in zip(pooled.items(), p[len(paired) :], strict=True):
        estimate = Estimate.of(each.a - each.b, each.bounded.interval)
        differences.append(Difference(f"pooled:{key}", len(ours), each.a, each.b, estimate, of, better=True))
    return Comparison(differences, _largest(ours["auprc"], theirs["auprc"]), _settings(a[0][1], b[0][1]))


def _pooled(a: Side, b: Side) -> dict[str, PooledDifference]:
    """Of the metrics over all pixels pooled; none where the counts of a record are not kept, or nothing is defined."""
    paths = [[counts_path(out / record.path) for out, record in side] for side in (a, b)]
    if not all(path.is_file() for side in paths for path in side):
        return {}
    ours, theirs = ([read_counts(path) for path in side] for side in paths)
    differences = pooled_differences(ours, theirs, resample_weights(ours[0].subjects, RESAMPLES))
    return {key: each for key, each in differences.items() if not np.isnan(each.a - each.b)}


def check_comparable(records: Iterable[Record]) -> None:
    """Raise RecordError naming what differs where records did not measure the same pixels by the same rules."""
    first, *others = records
    for record in others:
        for what in ("fingerprint", "region"):
            if getattr(record.dataset, what) != getattr(first.dataset, what):
                raise RecordError(
                    f"{record.path} and {first.path} must be of the same images, but their {what} differs."
                )
        if record.protocol != first.protocol:
            keys = [key for key in first.protocol if record.protocol.get(key) != first.protocol[key]]
            raise RecordError(
                f"{record.path} and {first.path} must follow the same rules, but differ in {', '.join(keys)}."
            )


def _by_subject(side: Side) -> pd.DataFrame:
    """Means over seeds, one row a subject."""
    files = [read_subjects(subjects_path(out / record.path)).set_index("subject") for out, record in side]
    return pd.concat(files).groupby(level="subject", sort=True).mean()


def _largest(a: pd.Series[float], b: pd.Series[float]) -> pd.DataFrame:
    both = pd.DataFrame({"a": a, "b": b}).dropna()
    order = np.argsort(-(both["a"] - both["b"]).abs().to_numpy(), kind="stable")[:SHOWN]
    return both.iloc[order].reset_index()


def _settings(a: Record, b: Record) -> dict[str, tuple[Any, Any]]:
    ours, theirs = (
        {"method": r.detector.name, "preset": r.detector.preset, "code_version": r.detector.code_version}
        | flat(r.detector.config)
        for r in (a, b)
    )
    return {key: (ours.get(key), theirs.get(key)) for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)}
