"""Intervals over subjects: draw subjects with replacement, re-weight their counts, read the metrics again.

A resample is a row of integer weights, one for each subject, so a resampled curve is a matrix product of the weights
and the counts of each subject in coarse cells. No score is read again. How far the order inside a cell could move a
resample's metric is known, and so is how far it could move the ends of an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adbench.errors import ScoreError
from adbench.metrics.curve import Floats, precisions
from adbench.metrics.estimate import Interval
from adbench.metrics.histogram import ScoreHistogram

Bounds = tuple[Floats, Floats, Floats]
"""(n_resamples,) a metric of each resample, the least it could be, and the most; NaN where undefined."""


@dataclass(frozen=True)
class Bounded:
    """An interval, and how far the cells of the scores can move either of its ends."""

    interval: Interval | None
    error_bound: float = 0.0


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


def bootstrap(hist: ScoreHistogram, weights: NDArray[np.int64]) -> dict[str, Bounded]:
    """95 % percentile intervals over subjects of `best_dice`, `auprc` and `auroc`, on the coarse curves.

    Args:
        hist: counts of the test set.
        weights: (n_resamples, number of subjects), columns in the order of `hist.subjects`, of `resample_weights`.

    Returns:
        metric -> interval with its error bound. A resample in which a metric is undefined (it drew no lesion) leaves
        that metric's interval; None when that is so in every resample.

    Raises:
        ScoreError: `weights` has another number of columns than there are subjects.
    """
    if weights.ndim != 2 or weights.shape[1] != len(hist.subjects):
        raise ScoreError(
            f"Bootstrap weights need one column a subject ({len(hist.subjects)}); received {weights.shape}. "
            "Take them from resample_weights(hist.subjects)."
        )
    return {name: bounded_interval(values) for name, values in resampled(hist, weights).items()}


def difference_interval(a: ScoreHistogram, b: ScoreHistogram, weights: NDArray[np.int64]) -> dict[str, Bounded]:
    """The same of metric(a) - metric(b), both on the same resamples of the same subjects.

    Raises:
        ScoreError: the two were scored on different subjects.
    """
    if a.subjects != b.subjects:
        odd = sorted(set(a.subjects) ^ set(b.subjects))
        raise ScoreError(
            f"A difference needs the same subjects on both sides; {len(odd)} are on one only, such as {odd[0]!r}. "
            "Score both methods on the same split."
        )
    of_a, of_b = resampled(a, weights), resampled(b, weights)
    differences = {key: (of_a[key], of_b[key]) for key in of_a}
    return {key: bounded_interval((x[0] - y[0], x[1] - y[2], x[2] - y[1])) for key, (x, y) in differences.items()}


def bounded_interval(values: Bounds) -> Bounded:
    """The interval of a metric's resamples: its ends lie between those of the least and of the most they could be."""
    interval, least, most = (percentile_interval(each) for each in values)
    if interval is None or least is None or most is None:
        return Bounded(None)
    return Bounded(interval, max(*(interval[i] - least[i] for i in (0, 1)), *(most[i] - interval[i] for i in (0, 1))))


def resampled(hist: ScoreHistogram, weights: NDArray[np.int64]) -> dict[str, Bounds]:
    """best_dice, auprc and auroc of every resample, weights (n_resamples, subjects)."""
    w = weights.astype(np.float64)
    pos, neg = (w @ counts[:, ::-1].astype(np.float64) for counts in hist.by_subject())
    is_open = hist.cells.is_open_coarse[::-1]
    tp, fp = pos.cumsum(axis=1), neg.cumsum(axis=1)
    all_pos, all_neg = pos.sum(axis=1), neg.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without lesions has NaN
        return {
            "best_dice": _dice(tp, fp, neg, all_pos, is_open),
            "auprc": _auprc(tp, fp, pos, neg, is_open, all_pos),
            "auroc": _auroc(tp, pos, neg, is_open, all_pos * all_neg),
        }


def _dice(tp: Floats, fp: Floats, neg: Floats, all_pos: Floats, is_open: NDArray[np.bool_]) -> Bounds:
    total = all_pos[:, None] + tp + fp
    dice = (2 * tp / total).max(axis=1, initial=0)
    most = (2 * tp / np.where(is_open, total - neg, total)).max(axis=1, initial=0)
    dice, most = (np.where(all_pos > 0, each, np.nan) for each in (dice, most))
    return dice, dice, most


def _auprc(tp: Floats, fp: Floats, pos: Floats, neg: Floats, is_open: NDArray[np.bool_], all_pos: Floats) -> Bounds:
    even, least, most = precisions(tp, fp, pos, neg, is_open)
    return even.sum(axis=1) / all_pos, least.sum(axis=1) / all_pos, most.sum(axis=1) / all_pos


def _auroc(tp: Floats, pos: Floats, neg: Floats, is_open: NDArray[np.bool_], pairs: Floats) -> Bounds:
    """With each cell a tie; the order in a cell moves half its pairs."""
    value = (neg * (tp - pos / 2)).sum(axis=1) / pairs
    inside = np.where(is_open, pos * neg, 0).sum(axis=1) / 2 / pairs
    return value, value - inside, value + inside


def ratio_interval(part: Floats, whole: Floats, weights: NDArray[np.int64]) -> Interval | None:
    """Percentile interval of the pooled ratio of counts (subjects,); resamples without any of `whole` are left out."""
    parts, wholes = weights @ part, weights @ whole
    return percentile_interval(np.where(wholes > 0, parts / np.where(wholes > 0, wholes, 1), np.nan))


def percentile_interval(values: Floats) -> Interval | None:
    """The 2.5th and 97.5th percentile of the defined values; None without a value."""
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
