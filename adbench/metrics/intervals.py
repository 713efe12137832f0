"""Intervals of the pixel metrics over subjects: draw subjects with replacement, re-weight their counts, read again."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from adbench.errors import ScoreError
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.pixels import PixelMetrics, pixel_metrics
from adbench.metrics.resampling import Interval, percentile_interval, resample_weights, resampled_curves

_NAMES = ("best_dice", "auprc", "auroc")


def bootstrap(
    hist: ScoreHistogram,
    n_resamples: int = 1000,
    seed: int = 0,
    weights: NDArray[np.int64] | None = None,
    point: PixelMetrics | None = None,
) -> dict[str, Interval | None]:
    """95 % percentile intervals over subjects of `best_dice`, `auprc` and `auroc`, on the binned curves.

    Args:
        hist: counts of the test set.
        n_resamples: resamples to draw; ignored when `weights` is given.
        seed: of the draw; ignored when `weights` is given.
        weights: (n_resamples, number of subjects), columns in the order of `hist.subjects`.
        point: metrics of the whole test set from scores that were read again. Their distance to those of the
            bins, the binning error, is then taken off all resamples.

    Returns:
        metric -> (low, high). A resample in which a metric is undefined (it drew no lesion) leaves that
        metric's interval; None when that is so in every resample.

    Raises:
        ScoreError: `weights` has another number of columns than there are subjects.
    """
    values = _resampled_metrics(hist, _weights_for(hist, n_resamples, seed, weights), point)
    return {name: percentile_interval(values[name]) for name in _NAMES}


def paired_difference(
    hist_a: ScoreHistogram,
    hist_b: ScoreHistogram,
    n_resamples: int = 1000,
    seed: int = 0,
    weights: NDArray[np.int64] | None = None,
    points: tuple[PixelMetrics, PixelMetrics] | None = None,
) -> dict[str, Interval | None]:
    """95 % percentile intervals of metric(a) - metric(b), both on the same resamples of the same subjects.

    Bins treat two methods unequally: the AUPRC of a score and of its square, which rank alike, can differ by
    0.001 when binned. The intervals are therefore widened by the error bounds of both points, so that one
    that leaves out zero separates the methods and not their bins. Points from scores that were read again
    have far smaller bounds than the points of the bins, which are the default.

    Args:
        hist_a: counts of one method.
        hist_b: counts of the other.
        n_resamples: as for `bootstrap`.
        seed: as for `bootstrap`.
        weights: as for `bootstrap`.
        points: `pixel_metrics` of both methods, as for `bootstrap`.

    Raises:
        ScoreError: the two were scored on different subjects, or `weights` does not fit them.
    """
    if hist_a.subjects != hist_b.subjects:
        odd = sorted(set(hist_a.subjects) ^ set(hist_b.subjects))
        raise ScoreError(
            f"A paired difference needs the same subjects on both sides; {len(odd)} are on one only, such as "
            f"{odd[0]!r}. Score both methods on the same split."
        )
    weights = _weights_for(hist_a, n_resamples, seed, weights)
    of_a, of_b = points or (pixel_metrics(hist_a), pixel_metrics(hist_b))
    a, b = _resampled_metrics(hist_a, weights, of_a), _resampled_metrics(hist_b, weights, of_b)
    bounds = {name: _error_bound(of_a, name) + _error_bound(of_b, name) for name in _NAMES}
    return {name: percentile_interval(a[name] - b[name], bounds[name]) for name in _NAMES}


def _weights_for(
    hist: ScoreHistogram, n_resamples: int, seed: int, weights: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    if weights is None:
        return resample_weights(hist.subjects, n_resamples, seed)
    if weights.ndim != 2 or weights.shape[1] != len(hist.subjects):
        raise ScoreError(
            f"Bootstrap weights need one column a subject ({len(hist.subjects)}); received {weights.shape}. "
            "Take them from resample_weights(hist.subjects)."
        )
    return weights


def _resampled_metrics(
    hist: ScoreHistogram, weights: NDArray[np.int64], point: PixelMetrics | None
) -> dict[str, NDArray[np.float64]]:
    """The metrics of every resample, shifted so that the whole test set has those of `point`."""
    whole = np.ones((1, weights.shape[1]), np.int64)
    values = resampled_curves(*_subject_counts(hist), np.concatenate([whole, weights]))
    for name in _NAMES:
        exact = None if point is None else getattr(point, name)
        values[name] = values[name][1:] + (0.0 if exact is None else exact - values[name][0])
    return values


def _error_bound(point: PixelMetrics, name: str) -> float:
    return float(getattr(point, f"{name}_error_bound") or 0.0)


def _subject_counts(hist: ScoreHistogram) -> tuple[sp.csc_array, sp.csc_array]:
    """Positives and negatives (subjects, bins in use), bins from the highest score down."""
    rows = [hist.bins(subject) for subject in hist.subjects]
    if not rows:
        return sp.csc_array((0, 0)), sp.csc_array((0, 0))
    codes = np.concatenate([codes for codes, _, _ in rows])
    used, column = np.unique(codes, return_inverse=True)
    starts = np.cumsum([0] + [codes.size for codes, _, _ in rows])
    shape = (len(rows), used.size)
    # ascending codes become descending columns
    positives, negatives = (
        sp.csr_array(
            (np.concatenate([row[part] for row in rows]).astype(np.float64), used.size - 1 - column, starts),
            shape=shape,
        ).tocsc()
        for part in (1, 2)
    )
    return positives, negatives
