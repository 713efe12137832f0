"""Image-level metrics: how well one score an image ranks images with a lesion above clean ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adbench.errors import ScoreError
from adbench.metrics.estimate import Interval
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.intervals import bounded_interval, resample_weights, resampled


@dataclass(frozen=True)
class ImageMetrics:
    """Image-level ranking; `None` where a class is missing, never NaN.

    Attributes:
        image_auroc: area under the ROC curve, ties counted half; None without both classes.
        image_auprc: step-wise average precision; None without both classes.
        image_auroc_interval: 95 % interval, or None.
        image_auprc_interval: 95 % interval, or None.
    """

    image_auroc: float | None
    image_auprc: float | None
    image_auroc_interval: Interval | None
    image_auprc_interval: Interval | None


def image_metrics(
    scores: NDArray[np.floating],
    anomalous: NDArray[np.bool_],
    subjects: Sequence[str],
    n_resamples: int,
) -> ImageMetrics:
    """Exact image-level AUROC and AUPRC with 95 % intervals.

    Args:
        scores: (N,), one finite number an image, higher = more anomalous.
        anomalous: (N,) bool.
        subjects: (N,) names; whole subjects are drawn, as slices of one brain are not independent.
        n_resamples: resamples to draw.

    Raises:
        ScoreError: shapes differ, a score is NaN or infinite, or there is no image.
    """
    scores, anomalous = np.asarray(scores), np.asarray(anomalous).astype(bool)
    names = list(subjects)
    _check_images(scores, anomalous, names)
    histogram = ScoreHistogram.of(lambda: _by_subject(scores.astype(np.float32), anomalous, names))
    auroc, auprc = _image_points(scores, anomalous)
    draws = resampled(histogram, resample_weights(histogram.subjects, n_resamples))
    n = len({subject for subject, has in zip(names, anomalous, strict=True) if has})
    return ImageMetrics(
        image_auroc=auroc,
        image_auprc=auprc,
        image_auroc_interval=bounded_interval(auroc, draws["auroc"], n).interval,
        image_auprc_interval=bounded_interval(auprc, draws["auprc"], n).interval,
    )


def _image_points(scores: NDArray[np.floating], anomalous: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """(AUROC, AUPRC), None where undefined."""
    # imported here, as it takes about a second that pixel metrics need not pay
    from sklearn.metrics import average_precision_score, roc_auc_score

    if not anomalous.any() or anomalous.all():
        return None, None
    return float(roc_auc_score(anomalous, scores)), float(average_precision_score(anomalous, scores))


def _check_images(scores: NDArray[np.floating], anomalous: NDArray[np.bool_], names: list[str]) -> None:
    if scores.ndim != 1 or scores.shape != anomalous.shape or len(names) != scores.size or scores.size == 0:
        raise ScoreError(
            f"Image scores, labels and subjects come one of each an image; received shapes {scores.shape}, "
            f"{anomalous.shape} and ({len(names)},). Pass one score for every image of the test set."
        )
    if not np.isfinite(scores).all():
        bad = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ScoreError(f"Image scores must be finite; image {bad} scored {scores[bad]}. Mend the image-level score.")


def _by_subject(
    scores: NDArray[np.float32], anomalous: NDArray[np.bool_], names: list[str]
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.bool_], None]]:
    """Each subject's images as if they were pixels."""
    subjects, of = np.unique(names, return_inverse=True)
    for i, subject in enumerate(subjects):
        yield str(subject), scores[of == i], anomalous[of == i], None
