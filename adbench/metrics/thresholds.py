"""Thresholds that healthy images alone decide: the operating points of a user who has no labels.

A threshold is an observed score, never interpolated, and a pixel is flagged where its score is greater: any strictly
increasing map of the scores moves the thresholds along and flags the same pixels. Subjects weigh the same, whatever
the number of their pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adbench.errors import ScoreError
from adbench.metrics.curve import Floats, gather
from adbench.metrics.histogram import Counts, ScoreHistogram
from adbench.metrics.maps import Reread, value_of

_ROUNDING = 1e-12  # sums of weights: far less than one pixel


@dataclass(frozen=True)
class HealthyThreshold:
    """The smallest observed score with at most a rate of healthy pixels above it.

    Attributes:
        rate: fraction of healthy pixels that may be flagged, subjects weighted equally.
        threshold: a pixel is flagged where its score is greater.
        rate_met: fraction of the healthy pixels above it; far smaller than `rate` where many scores tie.
        pixels_above: number of healthy pixels above it.
        largest_share: fraction of these in the subject that holds most; 0 without any.
        subjects: healthy subjects.
    """

    rate: float
    threshold: float
    rate_met: float
    pixels_above: int
    largest_share: float
    subjects: int


def healthy_thresholds(maps: Reread, rates: Sequence[float]) -> list[HealthyThreshold]:
    """The threshold for each rate.

    Args:
        maps: of healthy images; lesions are not looked at.
        rates: each between 0 and 1.

    Raises:
        ScoreError: no valid pixel, a map that is not valid, or scores that changed between the readings.
    """
    hist = ScoreHistogram.of(maps)
    by_subject = hist.by_subject().sum(axis=0)  # (subjects, coarse bins)
    if not by_subject.sum():
        raise ScoreError("A threshold needs at least one healthy pixel that counts, but there is none: add images.")
    pixels = by_subject.sum(axis=1)
    weights = np.where(pixels > 0, 1 / np.maximum(pixels, 1), 0) / np.count_nonzero(pixels)
    above = _above(weights @ by_subject)
    used = by_subject.sum(axis=0) > 0
    bins = [int(np.flatnonzero(used & (above <= rate + _ROUNDING))[0]) for rate in rates]
    inside = np.unique(np.concatenate([_fine(hist, place) for place in bins]))
    keys, _, subjects = gather(hist, inside, maps)
    order = np.argsort(-keys.astype(np.int64), kind="stable")
    keys, subjects = keys[order], subjects[order]
    bin_of = np.searchsorted(hist.bins.coarse_starts, hist.bins.find(keys), side="right") - 1
    return [
        _inside(rate, keys[bin_of == place], subjects[bin_of == place], by_subject[:, place + 1 :].sum(1), weights)
        for rate, place in zip(rates, bins, strict=True)
    ]


def _above(mass: Floats) -> Floats:
    """(C,) what lies in the bins above each."""
    return np.append(mass[::-1].cumsum()[::-1][1:], 0.0)


def _fine(hist: ScoreHistogram, place: int) -> NDArray[np.intp]:
    """The fine bins of a coarse one."""
    ends = np.append(hist.bins.coarse_starts, hist.bins.n_fine)
    return np.arange(ends[place], ends[place + 1])


def _inside(
    rate: float, keys: NDArray[np.int32], subjects: NDArray[np.intp], above: Counts, weights: Floats
) -> HealthyThreshold:
    """The threshold in the bin with these keys, descending; `above` counts each subject's pixels in higher bins."""
    mass = above @ weights + np.append(0.0, weights[subjects].cumsum())
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))  # of equal scores
    start = starts[mass[starts] <= rate + _ROUNDING][-1]
    counts = above + np.bincount(subjects[:start], minlength=above.size)
    total = int(counts.sum())
    return HealthyThreshold(
        rate=rate,
        threshold=float(value_of(keys[start])),
        rate_met=float(mass[start]),
        pixels_above=total,
        largest_share=float(counts.max() / total) if total else 0.0,
        subjects=int(np.count_nonzero(weights)),
    )
