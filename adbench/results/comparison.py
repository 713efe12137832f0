"""Two methods, or two runs of one, on the same subjects: what differs, by how much, and whether that is chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from adbench.results.scan_metrics import FIELDS
from adbench.results.side_by_side import Kept, kept
from adbench.results.sides import Pair, Side
from adbench.results.subjects import SEPARATOR, read_subjects, subjects_path

COUNTS = ("images", "scans", "lesion_pixels", "lesion_voxels", "unseen_voxels", "lesions", "components", "perfect_dice")
"""Columns of the files of subjects that judge no method."""
FLIPS, RESAMPLES = 100_000, 4_999


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
    """Of sign flips over subjects, of pooled metrics of a recentred bootstrap; corrected by Holm over all compared."""
    better: bool
    """Whether more of it is better."""

    @property
    def worse(self) -> bool:
        """Whether a is worse than b by more than chance."""
        return self.differs and (self.a < self.b) is self.better

    @property
    def differs(self) -> bool:
        """Whether a and b differ by more than chance."""
        return self.p <= ALPHA


@dataclass(frozen=True)
class Comparison:
    """Two sides with one or several seeds each."""

    pair: Pair
    differences: Sequence[Difference]
    subjects: pd.DataFrame
    """AUPRC of each subject that has one, those that differ most first: subject, a, b."""
    settings: dict[str, tuple[Any, Any]]
    """Setting -> values of a and of b, where they differ."""
    kept: tuple[Kept | None, Kept | None]
    """The pictures of a and of b."""

    @property
    def worse(self) -> list[str]:
        """The metrics in which a is worse than b by more than chance."""
        return [each.metric for each in self.differences if each.worse]

    @property
    def better(self) -> list[str]:
        return [each.metric for each in self.differences if each.differs and not each.worse]


def compare(pairs: Sequence[Pair]) -> list[Comparison]:
    """Compare the two sides of each pair; p is corrected over all of them.

    Raises RecordError where the subjects beside the records are not the same.
    """
    tested = [_tested(pair) for pair in pairs]
    p = iter(holm([each.p for comparison in tested for each in comparison.differences]))
    return [
        replace(comparison, differences=[replace(each, p=next(p)) for each in comparison.differences])
        for comparison in tested
    ]


def _tested(pair: Pair) -> Comparison:
    """One comparison, its p not corrected."""
    ours, theirs = _by_subject(pair.a), _by_subject(pair.b)
    if not ours.index.equals(theirs.index):
        raise RecordError(
            "A comparison needs the same subjects on both sides: run one of the cells again with --force."
        )
    judged = [column for column in ours if column in theirs and column.split(SEPARATOR)[-1] not in COUNTS]
    paired = {column: (ours[column] - theirs[column]).dropna() for column in judged}
    differences = [
        Difference(
            metric=column,
            subjects=len(values),
            a=float(ours.loc[values.index, column].mean()),
            b=float(theirs.loc[values.index, column].mean()),
            difference=Estimate.of_mean(values.tolist(), "difference"),
            p=float(sign_flip_p(values.to_numpy(), FLIPS)),
            better=(field := FIELDS.get(column.split(SEPARATOR)[-1])) is None or field.higher_is_better,
        )
        for column, values in paired.items()
        if len(values) > 1
    ]
    for key, each in _pooled(pair.a, pair.b).items():
        estimate = Estimate.of(each.a - each.b, each.bounded.interval)
        differences.append(Difference(f"pooled:{key}", len(ours), each.a, each.b, estimate, each.p, better=True))
    return Comparison(
        pair,
        differences,
        _by_difference(ours["auprc"], theirs["auprc"]),
        _settings(pair.a, pair.b),
        (kept(pair.a), kept(pair.b)),
    )


def _pooled(a: Side, b: Side) -> dict[str, PooledDifference]:
    """Of the metrics over all pixels pooled; none where the counts of a record are not kept, or nothing is defined."""
    paths = [[counts_path(out / record.path) for out, record in side] for side in (a, b)]
    if not all(path.is_file() for side in paths for path in side):
        return {}
    ours, theirs = ([read_counts(path) for path in side] for side in paths)
    differences = pooled_differences(ours, theirs, resample_weights(ours[0].subjects, RESAMPLES))
    return {key: each for key, each in differences.items() if not np.isnan(each.a - each.b)}


def _by_subject(side: Side) -> pd.DataFrame:
    """Means over seeds, one row a subject."""
    files = [read_subjects(subjects_path(out / record.path)).set_index("subject") for out, record in side]
    return pd.concat(files).groupby(level="subject", sort=True).mean()


def _by_difference(a: pd.Series[float], b: pd.Series[float]) -> pd.DataFrame:
    both = pd.DataFrame({"a": a, "b": b}).dropna()
    order = np.argsort(-(both["a"] - both["b"]).abs().to_numpy(), kind="stable")
    return both.iloc[order].reset_index()


def _settings(a: Side, b: Side) -> dict[str, tuple[Any, Any]]:
    ours, theirs = (
        {"method": first.detector.name, "preset": first.detector.preset, "code_version": first.detector.code_version}
        | {"seeds": ", ".join(str(record.seed) for _, record in side)}
        | flat(first.detector.config)
        for side, first in ((a, a[0][1]), (b, b[0][1]))
    )
    return {key: (ours.get(key), theirs.get(key)) for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)}
