"""What is found at an operating point, a threshold that healthy images alone decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence
from adbench.metrics.intervals import Bounded, ratio, resample_weights
from adbench.metrics.metric import Metric
from adbench.metrics.points import OperatingPoint
from adbench.metrics.resampled_thresholds import interval_at
from adbench.metrics.student import Scale, resampled_error, t_interval

Counts = NDArray[np.int64]
BOTH = "test subjects and healthy subjects"


@dataclass(frozen=True)
class Measure:
    """A metric before it is known at which operating point it is read; fields are those of `Metric`."""

    key: str
    title: str
    glossary: str
    counts: Literal["pixels", "lesions", "subjects", "images"]
    estimate: Callable[[Evidence, OperatingPoint, int], Estimate]
    """From the counts at the k-th threshold, which is that of the point."""
    resampled: str = "subjects"
    higher_is_better: bool = True
    unit: str = ""
    by_subject: str = ""
    """The column in the files of subjects, without the point."""

    def at(self, point: OperatingPoint) -> Metric:
        """The metric at a point, undefined where healthy images do not support it."""

        def estimate(of: Evidence) -> Estimate:
            supported = point.missing(of.thresholds[point.rate]) is None
            return self.estimate(of, point, of.index(point.rate)) if supported else Estimate(value=None)

        return Metric(
            key=f"{self.key}_{point.key}",
            title=self.title,
            glossary=self.glossary,
            counts=self.counts,
            resampled=self.resampled,
            estimate=estimate,
            higher_is_better=self.higher_is_better,
            unit=self.unit,
            point=point.key,
            by_subject=self.by_subject and f"{point.key}:{self.by_subject}",
        )


def at_resampled_threshold(of: Evidence, key: str, rate: float) -> tuple[float | None, Bounded]:
    """One of `RESAMPLED` at the threshold of a rate, with its interval; test and healthy subjects are resampled."""
    counts = np.array([at[of.index(rate)] for at in of.flagged.pixels.values()], np.int64).reshape(-1, 3)
    hits, flagged, lesion = counts.sum(axis=0)
    if not lesion:
        return None, Bounded(None)
    value = {
        "dice": 2 * hits / (flagged + lesion),
        "subject_dice": np.mean(list(dice_by_subject(of, of.index(rate)).values())),
        "sensitivity": hits / lesion,
    }[key]
    sizes, healthy = counts[counts[:, 2] > 0, 2], of.thresholds[rate].subjects
    return float(value), interval_at(key, float(value), of.draws_at(rate)[key], sizes, healthy)


def _at_resampled_threshold(key: str) -> Callable[[Evidence, OperatingPoint, int], Estimate]:
    def estimate(of: Evidence, point: OperatingPoint, k: int) -> Estimate:
        value, bounded = at_resampled_threshold(of, key, point.rate)
        return Estimate.of(value, bounded.interval)

    return estimate


def dice_by_subject(of: Evidence, k: int) -> dict[str, float]:
    """Dice of each subject with a lesion, at the k-th threshold."""
    counts = {subject: at[k] for subject, at in sorted(of.flagged.pixels.items())}
    return {s: float(2 * hits / (flagged + lesion)) for s, (hits, flagged, lesion) in counts.items() if lesion}


def _found(at: Counts) -> tuple[int, int]:
    """Lesions found and all, from (ranges of size, 4)."""
    lesions, found = at[:, :2].sum(axis=0)
    return int(found), int(lesions)


def _ratio(of: Evidence, counts: Mapping[str, tuple[int, int]], scale: Scale = "fraction") -> Estimate:
    """Pooled ratio, with its interval over subjects."""
    if not counts:
        return Estimate(value=None)
    part, whole = np.array([counts[subject] for subject in sorted(counts)], np.float64).T
    weights = resample_weights(sorted(counts), of.resamples)
    return ratio(part, whole, weights, scale)


def _f1(of: Evidence, k: int) -> Estimate:
    subjects = sorted(of.flagged.lesions)
    lesions = np.array([of.flagged.lesions[s][k, :, :2].sum(0) for s in subjects]).reshape(-1, 2)
    components = np.array([of.flagged.components[s][k, :2] for s in subjects]).reshape(-1, 2)
    counts = np.concatenate([lesions, components], axis=1).astype(np.float64)
    return f1_estimate(counts, resample_weights(subjects, of.resamples))


def f1_estimate(counts: NDArray[np.float64], weights: NDArray[np.int64]) -> Estimate:
    """Lesion F1 from (subjects, 4) lesions, found ones, components and false ones; weights (resamples, subjects)."""
    value = float(_f1_of(counts.sum(axis=0)))
    if np.isnan(value):
        return Estimate(value=None)
    n = int(np.count_nonzero(counts[:, 0]))
    error = resampled_error(_f1_of(weights @ counts), n)
    return Estimate.of(value, None if error is None else t_interval(value, error, n, "fraction"))


def _f1_of(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of (..., 4): 1 needs every lesion found and no false component."""
    lesions, found, components, false = np.moveaxis(counts, -1, 0)
    recall, precision = found / np.maximum(lesions, 1), (components - false) / np.maximum(components, 1)
    precision = np.where(components > 0, precision, 1.0)  # nothing flagged is nothing wrong, and nothing found
    value = 2 * recall * precision / np.maximum(recall + precision, 1e-300)
    return np.where(lesions > 0, value, np.nan)


MEASURES = (
    Measure(
        "dice",
        "Dice",
        "over all pixels pooled.",
        "pixels",
        _at_resampled_threshold("dice"),
        resampled=BOTH,
    ),
    Measure(
        "subject_dice",
        "subject Dice",
        "mean over the subjects with lesions.",
        "subjects",
        _at_resampled_threshold("subject_dice"),
        resampled=BOTH,
        by_subject="pixel_dice",
    ),
    Measure(
        "sensitivity",
        "sensitivity",
        "fraction of the lesion pixels that are flagged.",
        "pixels",
        _at_resampled_threshold("sensitivity"),
        resampled=BOTH,
    ),
    Measure(
        "lesion_recall",
        "lesion recall",
        "fraction of the lesions of a slice of which at least a tenth is flagged.",
        "lesions",
        lambda of, point, k: _ratio(of, {s: _found(at[k]) for s, at in of.flagged.lesions.items()}),
    ),
    Measure(
        "lesion_f1",
        "lesion F1",
        "harmonic mean of lesion recall and of the fraction of components that touch a lesion.",
        "lesions",
        lambda of, point, k: _f1(of, k),
    ),
    Measure(
        "false_components",
        "false components",
        "sets of connected flagged pixels that touch no lesion, in a slice; slices without lesions included.",
        "images",
        lambda of, point, k: _ratio(of, {s: (at[k, 1], at[k, 2]) for s, at in of.flagged.components.items()}, "count"),
        higher_is_better=False,
        unit="a slice",
    ),
    Measure(
        "rate_met",
        "rate met",
        "fraction of the pixels that are flagged in test slices without a lesion; the nearer to the rate of the "
        "operating point, the better healthy images of both kinds agree.",
        "pixels",
        lambda of, point, k: _ratio(of, {s: (at[k, 0], at[k, 1]) for s, at in of.flagged.clean.items()}),
        higher_is_better=False,
    ),
)
"""Everything that is read at each operating point, in the order of the columns."""
