"""The interval of Dice at a threshold that healthy images decide: they are resampled too, and so is the threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.intervals import Bounded, bounded_interval, resample_weights

HEALTHY_SEED = 1
"""Healthy subjects are drawn apart from the test subjects."""


def dice_interval(
    value: float | None, test: ScoreHistogram, healthy: ScoreHistogram, rate: float, weights: NDArray[np.int64]
) -> Bounded:
    """95 % interval of the pooled Dice.

    Args:
        value: it itself, at the threshold of all healthy subjects.
        test: counts of the test images.
        healthy: counts of healthy images in the same bins.
        rate: fraction of healthy pixels flagged at most, subjects weighted equally.
        weights: (n_resamples, test subjects).
    """
    place = _threshold_bins(healthy, rate, len(weights))  # all bins above it are flagged, and a part of it
    pos, neg = (weights.astype(np.float64) @ counts for counts in test.by_subject())
    tp, fp = (each[:, ::-1].cumsum(axis=1)[:, ::-1] for each in (pos, neg))  # flagged with each bin and all above
    rows, above = np.arange(len(weights)), np.minimum(place + 1, tp.shape[1] - 1)
    none = place + 1 >= tp.shape[1]
    tp_above, fp_above = (np.where(none, 0, each[rows, above]) for each in (tp, fp))
    tp_with, fp_with = tp[rows, place], fp[rows, place]
    total = pos.sum(axis=1)

    def dice(hits: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(total > 0, 2 * hits / np.maximum(total + hits + others, 1), np.nan)

    ends = np.stack(
        [dice(tp_above, fp_above), dice(tp_above, fp_with), dice(tp_with, fp_above), dice(tp_with, fp_with)]
    )
    n = int((test.by_subject()[0].sum(axis=1) > 0).sum())
    return bounded_interval(value, (dice(tp_above, fp_above), ends.min(axis=0), ends.max(axis=0)), n)


def _threshold_bins(healthy: ScoreHistogram, rate: float, n: int) -> NDArray[np.intp]:
    """(n,) the coarse bin of the threshold in each resample of the healthy subjects; of one, always the same."""
    by_subject = healthy.by_subject().sum(axis=0).astype(np.float64)
    pixels = by_subject.sum(axis=1, keepdims=True)
    shares = by_subject / np.maximum(pixels, 1)
    drawn = resample_weights(healthy.subjects, n, HEALTHY_SEED)
    drawn = drawn if len(drawn) else np.ones((n, len(shares)), np.int64)
    mass = drawn @ shares / drawn.sum(axis=1, keepdims=True)
    above = mass[:, ::-1].cumsum(axis=1)[:, ::-1] - mass
    fits = (above <= rate + 1e-12) & (mass > 0)
    return np.where(fits.any(axis=1), fits.argmax(axis=1), mass.shape[1] - 1)
