"""Intervals over subjects: draw subjects with replacement, re-weight their counts, read the metrics again.

A resample is a row of integer weights, one for each subject, so a resampled curve is a matrix product of the weights
and the counts of each subject in coarse bins. No score is read again. The spread of the resamples is the standard
error of an interval of Student's t; the fewer subjects hold the lesion pixels, the fewer degrees of freedom it has. How
far the order inside a bin could move a resample's metric is known, and so is how far it could move the ends of an
interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adbench.errors import ScoreError
from adbench.metrics.curve import Floats, precisions
from adbench.metrics.estimate import Estimate
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.student import Interval, Scale, error_bound, freedom_of, resampled_error, t_interval

Bounds = tuple[Floats, Floats, Floats]
"""(n_resamples,) a metric of each resample, the least it could be, and the most; NaN where undefined."""


@dataclass(frozen=True)
class Bounded:
    """An interval, and how far the bins of the scores can move either of its ends."""

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
    bins = drawn + n_subjects * np.arange(n_resamples)[:, None]
    return np.bincount(bins.ravel(), minlength=n_resamples * n_subjects).reshape(n_resamples, n_subjects)


def bootstrap(
    hist: ScoreHistogram, weights: NDArray[np.int64], points: Mapping[str, float | None] | None = None
) -> dict[str, Bounded]:
    """95 % intervals over subjects of `best_dice`, `auprc` and `auroc`.

    Args:
        hist: counts of the test set.
        weights: (n_resamples, number of subjects), columns in the order of `hist.subjects`, of `resample_weights`.
        points: the metrics of the whole test set, where they are better known than from the coarse bins.

    Returns:
        metric -> interval with its error bound. A resample in which a metric is undefined (it drew no lesion) leaves
        that metric's interval. None for less than two subjects with lesions, whose number is that of the independent
        ones.

    Raises:
        ScoreError: `weights` has another number of columns than there are subjects.
    """
    if weights.ndim != 2 or weights.shape[1] != len(hist.subjects):
        raise ScoreError(
            f"Bootstrap weights need one column a subject ({len(hist.subjects)}); received {weights.shape}. "
            "Take them from resample_weights(hist.subjects)."
        )
    sizes = hist.by_subject()[0].sum(axis=1)
    n, freedom = int(np.count_nonzero(sizes)), freedom_of(sizes)
    whole = resampled(hist, np.ones((1, len(hist.subjects)), np.int64))
    known = points or {}
    return {
        name: bounded_interval(known.get(name, float(whole[name][0][0])), draws, n, freedom=freedom)
        for name, draws in resampled(hist, weights).items()
    }


def bounded_interval(
    value: float | None,
    draws: Bounds,
    n: int,
    scale: Scale = "fraction",
    of_value: float = 0.0,
    freedom: float | None = None,
) -> Bounded:
    """The interval of a number from its resamples, of which the least and the most that each could be are known.

    Args:
        value: of the whole test set; None or NaN where undefined.
        draws: of resamples.
        n: independent subjects.
        scale: what the number can be.
        of_value: how far the value itself could be off.
        freedom: degrees of freedom of the error, `freedom_of` the sizes for a pooled number; None: n - 1.
    """
    middle, least, most = draws
    error = resampled_error(middle, n)
    if value is None or np.isnan(value) or error is None:
        return Bounded(None)
    away = np.fmax(most - middle, middle - least)
    of_error = float(np.sqrt(np.nanmean(away**2) * n / (n - 1)))  # a standard deviation moves no further
    bound = error_bound(value, error, n, scale, of_value, of_error, freedom)
    return Bounded(t_interval(value, error, n, scale, freedom), bound)


def resampled(hist: ScoreHistogram, weights: NDArray[np.int64]) -> dict[str, Bounds]:
    """best_dice, auprc and auroc of every resample, weights (n_resamples, subjects)."""
    w = weights.astype(np.float64)
    pos, neg = (w @ counts[:, ::-1].astype(np.float64) for counts in hist.by_subject())
    is_open = hist.bins.is_open_coarse[::-1]
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
    """With each bin a tie; the order in a bin moves half its pairs."""
    value = (neg * (tp - pos / 2)).sum(axis=1) / pairs
    inside = np.where(is_open, pos * neg, 0).sum(axis=1) / 2 / pairs
    return value, value - inside, value + inside


def ratio(part: NDArray[Any], whole: NDArray[Any], weights: NDArray[np.int64], scale: Scale = "fraction") -> Estimate:
    """The pooled ratio of counts (subjects,), with its interval; None without any of `whole`.

    Subjects without any of it are not among the independent ones, and resamples without any are left out.
    """
    if not whole.any():
        return Estimate(value=None)
    parts, wholes = weights @ part, weights @ whole
    draws = np.where(wholes > 0, parts / np.where(wholes > 0, wholes, 1), np.nan)
    value, n = float(part.sum() / whole.sum()), int(np.count_nonzero(whole))
    error = resampled_error(draws, n)
    return Estimate.of(value, None if error is None else t_interval(value, error, n, scale))
