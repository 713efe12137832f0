"""Pixel metrics from streamed counts: ⌈DICE⌉, AUPRC and AUROC over all valid test pixels.

Scores are float32 and higher is more anomalous; a pixel is flagged where `score >= threshold`, so equal scores stand or
fall together. Only the order of the scores counts: any strictly increasing map of them gives the same numbers. Bins
are chosen in `bins.py`, counting is in `histogram.py`, the curves and their error bounds in `curve.py`, the intervals
over subjects in `intervals.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from adbench.metrics.curve import Curve, best_dice
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.maps import Reread


@dataclass(frozen=True)
class PixelMetrics:
    """Metrics pooled over all valid pixels of all subjects; `None` where undefined, never NaN.

    Attributes:
        best_dice: ⌈DICE⌉, the largest Dice over all thresholds, exact: an upper bound, as it uses the test labels.
            None without a lesion pixel.
        best_threshold: the highest threshold that reaches it.
        auprc: step-wise average precision; None without a lesion pixel.
        auprc_error_bound: it differs from that of the scores one by one by no more than this.
        auroc: area under the ROC curve, ties counted half; None without lesion or without other pixels.
        auroc_error_bound: as for `auprc`.
        prevalence: fraction of valid pixels that are lesion, the AUPRC of chance; None without a pixel.
    """

    best_dice: float | None
    best_threshold: float | None
    auprc: float | None
    auprc_error_bound: float | None
    auroc: float | None
    auroc_error_bound: float | None
    prevalence: float | None


def pixel_metrics(maps: Reread, hist: ScoreHistogram | None = None) -> PixelMetrics:
    """The pooled metrics of score maps, which are read three times or, where they are counted already, once.

    Args:
        maps: gives the same maps at each call.
        hist: their counts, where they are at hand.

    Raises:
        ScoreError: shapes of a subject differ, a valid score is NaN or infinite, or scores changed between readings.
    """
    hist = hist or ScoreHistogram.of(maps)
    curve = Curve.of(hist)
    dice, threshold = best_dice(curve, hist, maps) if hist.positives else (None, None)
    auprc, auprc_bound = curve.auprc() if hist.positives else (None, None)
    auroc, auroc_bound = curve.auroc() if hist.positives and hist.negatives else (None, None)
    return PixelMetrics(
        best_dice=dice,
        best_threshold=threshold,
        auprc=auprc,
        auprc_error_bound=auprc_bound,
        auroc=auroc,
        auroc_error_bound=auroc_bound,
        prevalence=hist.prevalence,
    )
