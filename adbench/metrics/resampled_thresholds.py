"""Numbers at a threshold that healthy images decide: they are resampled too, and the threshold with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adbench.metrics.curve import Floats
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.intervals import Bounded, Bounds, bounded_interval, resample_weights
from adbench.metrics.student import freedom_of

HEALTHY_SEED = 1
"""Healthy subjects are drawn apart from the test subjects."""
RESAMPLED = ("dice", "subject_dice", "sensitivity")
"""Keys, without the point, of the numbers whose intervals hold for another threshold of the same rate too."""


def draws_at(
    test: ScoreHistogram, healthy: ScoreHistogram, rate: float, weights: NDArray[np.int64]
) -> dict[str, Bounds]:
    """Each of `RESAMPLED` in every resample, both of the test subjects and of the healthy ones.

    Args:
        test: counts of the test images.
        healthy: counts of healthy images in the same bins.
        rate: fraction of healthy pixels flagged at most, subjects weighted equally.
        weights: (n_resamples, test subjects).
    """
    place = _threshold_bins(healthy, rate, len(weights))  # all bins above it are flagged, and a part of it
    pos, neg = test.by_subject().astype(np.float64)  # (subjects, bins)
    inside = test.bins.is_open_coarse  # where a bin has a single value, none of it is flagged
    tp, fp = ((_above(n)[:, place], (_above(n) + n * inside)[:, place]) for n in (pos, neg))
    size = pos.sum(axis=1)
    lesions = weights @ size
    hits, others = (tuple((weights.T * each).sum(axis=0) for each in ends) for ends in (tp, fp))
    sick = size > 0
    own = [each[sick] for each in _dice(tp, fp, size[:, None])]  # (subjects, resamples)
    number = weights[:, sick].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without lesions has NaN
        middle, least, most = ((weights[:, sick].T * each).sum(axis=0) / number for each in own)
        return {
            "dice": _dice(hits, others, np.where(lesions > 0, lesions, np.nan)),
            "subject_dice": (middle, least, most),
            "sensitivity": (hits[0] / lesions, hits[0] / lesions, hits[1] / lesions),
        }


def interval_at(key: str, value: float, draws: Bounds, sizes: NDArray[np.int64]) -> Bounded:
    """The interval of one of `RESAMPLED` from its draws; sizes of the lesions of each subject with any."""
    freedom = None if key == "subject_dice" else freedom_of(sizes)
    return bounded_interval(value, draws, len(sizes), freedom=freedom)


def _dice(hits: tuple[Floats, Floats], others: tuple[Floats, Floats], size: Floats) -> Bounds:
    """Of what lies above the bin of the threshold; the least and the most, with any part of that bin flagged too."""

    def dice(tp: Floats, fp: Floats) -> Floats:
        return np.asarray(2 * tp / np.maximum(size + tp + fp, 1))

    return dice(hits[0], others[0]), dice(hits[0], others[1]), dice(hits[1], others[0])


def _above(counts: Floats) -> Floats:
    """(subjects, bins) what lies in the bins above each."""
    return counts[:, ::-1].cumsum(axis=1)[:, ::-1] - counts


def _threshold_bins(healthy: ScoreHistogram, rate: float, n: int) -> NDArray[np.intp]:
    """(n,) the coarse bin of the threshold in each resample of the healthy subjects; of one, always the same."""
    by_subject = healthy.by_subject().sum(axis=0).astype(np.float64)
    pixels = by_subject.sum(axis=1, keepdims=True)
    shares = by_subject / np.maximum(pixels, 1)
    drawn = resample_weights(healthy.subjects, n, HEALTHY_SEED)
    drawn = drawn if len(drawn) else np.ones((n, len(shares)), np.int64)
    mass = drawn @ shares / drawn.sum(axis=1, keepdims=True)
    fits = (_above(mass) <= rate + 1e-12) & (mass > 0)
    return np.where(fits.any(axis=1), fits.argmax(axis=1), mass.shape[1] - 1)
