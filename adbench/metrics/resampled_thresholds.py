"""Numbers at a threshold that healthy images decide: they are resampled too, and the threshold with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adbench.metrics.curve import Floats
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.intervals import Bounded, Bounds, resample_weights
from adbench.metrics.student import FEWEST, around, freedom_of, reach_of, resampled_error

HEALTHY_SEED = 1
"""Healthy subjects are drawn apart from the test subjects."""
RESAMPLED = ("dice", "subject_dice", "sensitivity")
"""Keys, without the point, of the numbers whose intervals hold for another threshold of the same rate too."""


@dataclass(frozen=True)
class Draws:
    """A number at a threshold, in resamples of what it depends on, each of them alone."""

    test: Bounds
    """Of the test subjects, at the threshold of all healthy ones."""
    healthy: Bounds
    """Of the healthy subjects, who give another threshold for all test subjects."""


def draws_at(
    test: ScoreHistogram, healthy: ScoreHistogram, rate: float, weights: NDArray[np.int64]
) -> dict[str, Draws]:
    """Each of `RESAMPLED` in resamples of the test subjects, and in as many of the healthy ones.

    Args:
        test: counts of the test images.
        healthy: counts of healthy images in the same bins.
        rate: fraction of healthy pixels flagged at most, subjects weighted equally.
        weights: (n_resamples, test subjects).
    """
    drawn = resample_weights(healthy.subjects, len(weights), HEALTHY_SEED)
    of_all = np.ones((1, len(healthy.subjects)), np.int64)
    test_draws = _numbers(test, _threshold_bins(healthy, rate, of_all), weights)
    healthy_draws = _numbers(test, _threshold_bins(healthy, rate, drawn), np.ones((1, weights.shape[1]), np.int64))
    return {key: Draws(test_draws[key], healthy_draws[key]) for key in RESAMPLED}


def _numbers(test: ScoreHistogram, place: NDArray[np.intp], weights: NDArray[np.int64]) -> dict[str, Bounds]:
    """Each of `RESAMPLED` where all bins above `place`, and a part of it, are flagged; one of the two has one row.

    Args:
        place: (n,) bin of the threshold.
        weights: (n, test subjects).
    """
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


def interval_at(key: str, value: float, draws: Draws, sizes: NDArray[np.int64], healthy: int) -> Bounded:
    """The interval of one of `RESAMPLED` from its draws.

    What test subjects and what healthy subjects let it err is added in squares, each by its own degrees of freedom: an
    uncertain threshold makes no interval shorter, as joint degrees of freedom would.

    Args:
        key: of the number.
        value: of the whole test set.
        draws: of that number.
        sizes: of the lesions of each test subject with any.
        healthy: subjects that the threshold comes from; without `FEWEST` of them there is no interval.
    """
    n = len(sizes)
    test = _reaches(draws.test, n, n - 1 if key == "subject_dice" else freedom_of(sizes)) if n >= FEWEST else None
    other = _reaches(draws.healthy, healthy, healthy - 1) if healthy >= FEWEST else None
    if test is None or other is None or test[1] == 0:  # where all test subjects agree they would seem certain
        return Bounded(None)
    least, middle, most = (around(value, math.hypot(*each), "fraction") for each in zip(test, other, strict=True))
    bound = max(abs(x - y) for ends in (least, most) for x, y in zip(ends, middle, strict=True))
    return Bounded(middle, bound)


def _reaches(draws: Bounds, n: int, freedom: float) -> tuple[float, float, float] | None:
    """How far a number may lie from its truth by resamples of n subjects: at least, in the middle, at most."""
    middle, least, most = draws
    error = resampled_error(middle, n)
    if error is None:
        return None
    away = np.fmax(most - middle, middle - least)
    off = float(np.sqrt(np.nanmean(away**2) * n / (n - 1)))  # a standard deviation moves no further
    return reach_of(max(error - off, 0.0), freedom), reach_of(error, freedom), reach_of(error + off, freedom)


def _dice(hits: tuple[Floats, Floats], others: tuple[Floats, Floats], size: Floats) -> Bounds:
    """Of what lies above the bin of the threshold; the least and the most, with any part of that bin flagged too."""

    def dice(tp: Floats, fp: Floats) -> Floats:
        return np.asarray(2 * tp / np.maximum(size + tp + fp, 1))

    return dice(hits[0], others[0]), dice(hits[0], others[1]), dice(hits[1], others[0])


def _above(counts: Floats) -> Floats:
    """(subjects, bins) what lies in the bins above each."""
    return counts[:, ::-1].cumsum(axis=1)[:, ::-1] - counts


def _threshold_bins(healthy: ScoreHistogram, rate: float, drawn: NDArray[np.int64]) -> NDArray[np.intp]:
    """(n,) the coarse bin of the threshold in each resample (n, subjects) of the healthy subjects."""
    by_subject = healthy.by_subject().sum(axis=0).astype(np.float64)
    pixels = by_subject.sum(axis=1, keepdims=True)
    shares = by_subject / np.maximum(pixels, 1)
    mass = drawn @ shares / drawn.sum(axis=1, keepdims=True)
    fits = (_above(mass) <= rate + 1e-12) & (mass > 0)
    return np.where(fits.any(axis=1), fits.argmax(axis=1), mass.shape[1] - 1)
