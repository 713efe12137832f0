"""Intervals over subjects: draw subjects with replacement, re-weight their counts, read the metrics again.

A resample is a row of integer weights, one for each subject, so a resampled curve is a matrix product of the
weights and the per-subject counts. No score is read again. All resamples advance together along the curve, a
block of cells at a time, which keeps the memory independent of the number of bins in use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from adbench.errors import ScoreError
from adbench.metrics.estimate import Interval
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.pixels import PixelMetrics, pixel_metrics

_BLOCK = 256  # cells a step: 1,000 resamples x 256 cells x 8 bytes is 2 MB an array, which stays in the cache
_NAMES = ("best_dice", "auprc", "auroc")


def resample_weights(subjects: Sequence[str], n_resamples: int = 1000, seed: int = 0) -> NDArray[np.int64]:
    """How often each subject is drawn in each resample, shape (n_resamples, number of subjects).

    Of one subject there is no resample, and so no interval: it would have no width, as if the value were certain.
    Columns follow `sorted(set(subjects))`, and the draw depends on nothing but their number and `seed`: two
    methods scored on the same subjects get the same resamples, whatever order they were scored in.
    """
    n_subjects = len(set(subjects))
    if n_subjects < 2:
        return np.zeros((0, n_subjects), np.int64)
    drawn = np.random.default_rng(seed).integers(n_subjects, size=(n_resamples, n_subjects))
    cells = drawn + n_subjects * np.arange(n_resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=n_resamples * n_subjects).reshape(n_resamples, n_subjects)


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


def resampled_dice(counts: NDArray[np.int64], weights: NDArray[np.int64]) -> Interval | None:
    """95 % percentile interval of the pooled Dice at a fixed threshold.

    Args:
        counts: (subjects, 3) true positives, flagged pixels and lesion pixels.
        weights: (n_resamples, subjects).
    """
    hits, flagged, lesion = (weights @ counts).T.astype(np.float64)
    return percentile_interval(np.where(lesion > 0, 2 * hits / np.maximum(flagged + lesion, 1), np.nan))


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


def resampled_curves(
    positives: sp.csc_array, negatives: sp.csc_array, weights: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """best_dice, auprc and auroc of every resample, each (n_resamples,), NaN where undefined.

    Counts are (subjects, cells), cells from the highest score down; weights are (n_resamples, subjects).
    """
    w = weights.astype(np.float64)
    all_pos, all_neg = w @ positives.sum(axis=1), w @ negatives.sum(axis=1)
    tp, fp, dice, ap, pairs = (np.zeros(len(w)) for _ in range(5))
    for pos, neg in _blocks(w, positives, negatives):
        tps = tp[:, None] + np.cumsum(pos, axis=1)
        fps = fp[:, None] + np.cumsum(neg, axis=1)
        flagged = np.maximum(tps + fps, 1)  # 0 only where tps is 0 as well: any divisor does
        np.maximum(dice, (2 * tps / np.maximum(all_pos[:, None] + flagged, 1)).max(axis=1), out=dice)
        ap += (pos * tps / flagged).sum(axis=1)
        pairs += (neg * (tps - pos / 2)).sum(axis=1)
        tp, fp = tps[:, -1], fps[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        dice = np.where(all_pos > 0, dice, np.nan)
        return {"best_dice": dice, "auprc": ap / all_pos, "auroc": pairs / (all_pos * all_neg)}


def _blocks(
    weights: NDArray[np.float64], positives: sp.csc_array, negatives: sp.csc_array
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Resampled counts (n_resamples, up to _BLOCK) of successive blocks of cells."""
    for start in range(0, positives.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        yield _weighted(weights, positives[:, block]), _weighted(weights, negatives[:, block])


def _weighted(weights: NDArray[np.float64], counts: sp.csc_array) -> NDArray[np.float64]:
    """The product of both: dense where subjects fill many bins, sparse where a row is a single image."""
    if counts.nnz < 0.02 * counts.shape[0] * counts.shape[1]:
        return np.asarray((counts.T @ weights.T).T)
    return np.asarray(weights @ counts.toarray())


def percentile_interval(values: NDArray[np.float64], widen: float = 0.0) -> Interval | None:
    """The 2.5th and 97.5th percentile of the defined values, `widen` further out; None without a value."""
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low - widen), float(high + widen)
