"""Pixel metrics from streamed counts: ⌈DICE⌉, AUPRC and AUROC over all valid test pixels.

Scores are float32 and higher is more anomalous; a pixel is flagged where `score >= threshold`, so equal scores stand or
fall together. Counting is in `histogram.py`, the curves and their error bounds in `curve.py`, the intervals over
subjects in `intervals.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adbench.errors import ScoreError
from adbench.metrics.curve import Curve, split_while_useful
from adbench.metrics.histogram import BINS, Reread, ScoreHistogram, value_of


@dataclass(frozen=True)
class PixelMetrics:
    """Metrics pooled over all valid pixels of all subjects; `None` where undefined, never NaN.

    Attributes:
        best_dice: ⌈DICE⌉, the largest Dice over all thresholds: an upper bound, as it uses the test labels.
            None without a lesion pixel.
        best_threshold: the highest threshold that reaches it; the lower edge of a bin when `best_dice` is not
            exact.
        best_dice_error_bound: how much larger it could be; 0 when the scores were read again, as it is then
            exact.
        auprc: step-wise average precision; None without a lesion pixel.
        auprc_error_bound: it differs from that of the unbinned scores by no more than this.
        auroc: area under the ROC curve, ties counted half; None without lesion or without other pixels.
        auroc_error_bound: as for `auprc`.
        prevalence: fraction of valid pixels that are lesion, the AUPRC of chance; None without a pixel.
        pixels: number of valid pixels.
        subjects: number of subjects.
        subjects_with_lesion: number of those with at least one valid lesion pixel.
    """

    best_dice: float | None
    best_threshold: float | None
    best_dice_error_bound: float | None
    auprc: float | None
    auprc_error_bound: float | None
    auroc: float | None
    auroc_error_bound: float | None
    prevalence: float | None
    pixels: int
    subjects: int
    subjects_with_lesion: int


def pixel_metrics(hist: ScoreHistogram, reread: Reread | None = None) -> PixelMetrics:
    """Read the pooled metrics off the histogram.

    With `reread`, `best_dice` and `best_threshold` are exact: bins whose Dice could reach the best found at a
    bin edge are split until single scores remain. The bins that matter most for AUPRC and AUROC are split
    along with them. This usually takes two passes over the scores.

    Args:
        hist: counts of the test set.
        reread: gives an iterable of the same (subject, scores, lesion, valid) that were added, at each call.

    Raises:
        ScoreError: the scores read again are not those that were added.
    """
    curve = Curve.of(hist)
    positives, negatives = int(curve.pos.sum()), int(curve.neg.sum())
    if reread is not None and positives:
        curve = split_while_useful(curve, reread)
    dice, threshold, dice_bound = curve.best_dice() if positives else (None, None, None)
    auprc, auprc_bound = curve.auprc() if positives else (None, None)
    auroc, auroc_bound = curve.auroc() if positives and negatives else (None, None)
    return PixelMetrics(
        best_dice=dice,
        best_threshold=threshold,
        best_dice_error_bound=dice_bound,
        auprc=auprc,
        auprc_error_bound=auprc_bound,
        auroc=auroc,
        auroc_error_bound=auroc_bound,
        prevalence=hist.prevalence,
        pixels=positives + negatives,
        subjects=len(hist.subjects),
        subjects_with_lesion=sum(bool(hist.bins(subject)[1].any()) for subject in hist.subjects),
    )


def quantile(hist: ScoreHistogram, q: float) -> float:
    """Threshold at the q-quantile of all valid scores: `score >= threshold` flags at most 1 - q of them.

    It is rounded up to a bin edge, so by no more than 2**-7 of its size, and flags fewer pixels rather than
    more. Where many scores tie it flags none of them if all would be too many. Positives and negatives count
    alike: fill the histogram with healthy scores.

    Args:
        hist: counts of healthy validation scores.
        q: in [0, 1].

    Raises:
        ScoreError: no valid pixel was counted, or q is outside [0, 1].
    """
    positives, negatives = hist.pooled()
    total = positives + negatives
    pixels = int(total.sum())
    if not pixels or not 0 <= q <= 1:
        raise ScoreError(
            f"A quantile needs q in [0, 1] and at least one valid pixel; received q = {q} and {pixels} "
            "pixels. Add the healthy scores first."
        )
    allowed = pixels - int(np.ceil(q * pixels))
    flagged = np.cumsum(total[::-1])[::-1]  # by a threshold at the lower edge of each bin
    used = np.flatnonzero(total)
    fitting = used[flagged[used] <= allowed]
    # the edge above the last bin left out, which may lie below the lowest bin let in: closer to the quantile
    left_out = used[used < fitting[0]] if fitting.size else used
    code = left_out[-1] + 1 if left_out.size else fitting[0]
    return float(value_of(np.array((int(code) - BINS // 2) << 16)))
