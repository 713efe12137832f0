"""Differences of pooled metrics of two methods, both on the same resamples of the same subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adbench.errors import ScoreError
from adbench.metrics.curve import Floats
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.intervals import Bounded, Bounds, bounded_interval, resampled
from adbench.metrics.student import freedom_of


@dataclass(frozen=True)
class PooledDifference:
    """Of one metric over all pixels pooled."""

    a: float
    b: float
    bounded: Bounded
    """The 95 % interval of a - b, and how far bins can move it."""
    p: float
    """Of a recentred bootstrap over subjects; approximate. 1 where nothing could be drawn."""


def pooled_differences(
    a: Sequence[ScoreHistogram], b: Sequence[ScoreHistogram], weights: NDArray[np.int64]
) -> dict[str, PooledDifference]:
    """best_dice, auprc and auroc of a minus those of b, each the mean over the trainings of a method.

    Args:
        a: counts of each training; b likewise.
        weights: (n_resamples, number of subjects), of `adbench.metrics.intervals.resample_weights`.

    Raises:
        ScoreError: they were scored on different subjects.
    """
    first = a[0]
    for other in (*a, *b):
        _check_subjects(first, other)
    sizes = first.by_subject()[0].sum(axis=1)
    whole_first = np.concatenate([np.ones((1, len(first.subjects)), np.int64), weights])
    of_a, of_b = (_means([resampled(hist, whole_first) for hist in side]) for side in (a, b))
    return {key: _difference(of_a[key], of_b[key], sizes) for key in of_a}


def _check_subjects(a: ScoreHistogram, b: ScoreHistogram) -> None:
    if a.subjects != b.subjects:
        odd = sorted(set(a.subjects) ^ set(b.subjects))
        raise ScoreError(
            f"A difference needs the same subjects on both sides; {len(odd)} are on one only, such as {odd[0]!r}. "
            "Score both methods on the same split."
        )


def _means(each: Sequence[dict[str, Bounds]]) -> dict[str, Bounds]:
    return {key: _mean([of[key] for of in each]) for key in each[0]}


def _mean(each: Sequence[Bounds]) -> Bounds:
    middle, least, most = (np.mean([of[k] for of in each], axis=0) for k in range(3))
    return middle, least, most


def _difference(x: Bounds, y: Bounds, sizes: NDArray[np.int64]) -> PooledDifference:
    value, least, most = x[0] - y[0], x[1] - y[2], x[2] - y[1]
    bound = float(max(most[0] - value[0], value[0] - least[0]))
    draws = (value[1:], least[1:], most[1:])
    n = int(np.count_nonzero(sizes))
    interval = bounded_interval(float(value[0]), draws, n, "difference", bound, freedom_of(sizes))
    return PooledDifference(float(x[0][0]), float(y[0][0]), interval, recentred_p(float(value[0]), value[1:]))


def recentred_p(value: float, draws: Floats) -> float:
    """Two-sided p of a difference being 0: how often resamples lie as far from it as it lies from 0.

    Resamples scatter around the observed value as that does around the true one; maps of two methods have scales of
    their own, so that pooled maps cannot be swapped as in a permutation test.
    """
    known = draws[~np.isnan(draws)]
    if not known.size or np.isnan(value):
        return 1.0
    return float((1 + np.count_nonzero(np.abs(known - value) >= abs(value) - 1e-12)) / (1 + known.size))
