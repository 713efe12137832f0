"""Resamples of the subjects: their weights, the metrics of every resample, and the interval of what came out.

A resample is a row of integer weights, one for each subject, so a resampled curve is a matrix product of the
weights and the per-subject counts. No score is read again. All resamples advance together along the curve, a
block of cells at a time, which keeps the memory independent of the number of bins in use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Interval = tuple[float, float]
_BLOCK = 256  # cells a step: 1,000 resamples x 256 cells x 8 bytes is 2 MB an array, which stays in the cache


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


def resampled_dice(counts: NDArray[np.int64], weights: NDArray[np.int64]) -> Interval | None:
    """95 % percentile interval of the pooled Dice at a fixed threshold.

    Args:
        counts: (subjects, 3) true positives, flagged pixels and lesion pixels.
        weights: (n_resamples, subjects).
    """
    hits, flagged, lesion = (weights @ counts).T.astype(np.float64)
    return percentile_interval(np.where(lesion > 0, 2 * hits / np.maximum(flagged + lesion, 1), np.nan))


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
