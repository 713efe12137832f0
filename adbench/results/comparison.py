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
from adbench.metrics.estimate import Estimate
from adbench.results.record import Record
from adbench.results.scan_metrics import LOWER_IS_BETTER
from adbench.results.subjects import SEPARATOR, read_subjects, subjects_path

COUNTS = ("images", "scans", "lesion_pixels", "lesion_voxels", "unseen_voxels", "lesions", "components", "perfect_dice")
"""Columns of the files of subjects that judge no method."""
FLIPS = 100_000


@dataclass(frozen=True)
class Difference:
    """One metric, subject by subject."""

    metric: str
    subjects: int
    a: float
    b: float
    difference: Estimate
    """a - b."""
    p: float
    """Of sign flips, corrected by Holm over the metrics."""
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


def compare(a: Sequence[tuple[Path, Record]], b: Sequence[tuple[Path, Record]]) -> Comparison:
    """Compare the records of two sides, (folder, record) for each seed.

    Raises RecordError where they measured other images or by other rules, or have no subject in common.
    """
    check_comparable([record for _, record in (*a, *b)])
    ours, theirs = _by_subject(a), _by_subject(b)
    if not ours.index.equals(theirs.index):
        raise RecordError(
            "A comparison needs the same subjects on both sides: run one of the cells again with --force."
        )
    judged = [column for column in ours if column in theirs and column.split(SEPARATOR)[-1] not in COUNTS]
    paired = {column: (ours[column] - theirs[column]).dropna() for column in judged}
    paired = {column: values for column, values in paired.items() if len(values) > 1}
    p = holm([float(sign_flip_p(values.to_numpy(), FLIPS)) for values in paired.values()]) if paired else []
    differences = [
        Difference(
            metric=column,
            subjects=len(values),
            a=float(ours.loc[values.index, column].mean()),
            b=float(theirs.loc[values.index, column].mean()),
            difference=Estimate.of_mean(values.tolist(), "difference"),
            p=of,
            better=column.split(SEPARATOR)[-1] not in LOWER_IS_BETTER,
        )
        for (column, values), of in zip(paired.items(), p, strict=True)
    ]
    return Comparison(differences, _largest(ours["auprc"], theirs["auprc"]), _settings(a[0][1], b[0][1]))


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


def _by_subject(side: Sequence[tuple[Path, Record]]) -> pd.DataFrame:
    """Means over seeds, one row a subject."""
    files = [read_subjects(subjects_path(out / record.path)).set_index("subject") for out, record in side]
    return pd.concat(files).groupby(level="subject", sort=True).mean()


def _largest(a: pd.Series[float], b: pd.Series[float], n: int = 5) -> pd.DataFrame:
    both = pd.DataFrame({"a": a, "b": b}).dropna()
    order = np.argsort(-(both["a"] - both["b"]).abs().to_numpy(), kind="stable")[:n]
    return both.iloc[order].reset_index()


def _settings(a: Record, b: Record) -> dict[str, tuple[Any, Any]]:
    ours, theirs = (
        {"method": r.detector.name, "preset": r.detector.preset, "code_version": r.detector.code_version}
        | flat(r.detector.config)
        for r in (a, b)
    )
    return {key: (ours.get(key), theirs.get(key)) for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)}
