"""What is counted on a test set. Every count is taken once, when a metric first asks for it, and shared by all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from adbench.metrics.flagged import FlaggedCounts
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.images import ImageMetrics, image_metrics
from adbench.metrics.intervals import Bounded, bootstrap, resample_weights
from adbench.metrics.maps import Maps, Reread
from adbench.metrics.pixels import PixelMetrics, pixel_metrics
from adbench.metrics.points import FROC_RATES, POINTS
from adbench.metrics.resampled_thresholds import Draws, draws_at
from adbench.metrics.thresholds import HealthyThreshold, healthy_thresholds

IMAGE_QUANTILE = 0.99
"""Of the scores of an image: the rule for one score an image that is the same for all methods."""


@dataclass(frozen=True)
class Evidence:
    """The scores of a test set and what is counted from them.

    Attributes:
        images: gives (subject, scores, lesion, valid) of every test image, each (1, H, W), the same at each call.
        pixel_level: (N,) bool, the images that count for pixel metrics.
        healthy: gives the same of healthy images that no method calibrates on; thresholds come from them.
        image_scores: (N,), one number an image by the method's own rule, higher = more anomalous.
        anomalous: (N,) bool, whether the image has a lesion pixel that counts.
        image_level: (N,) bool, the images that count for image-level metrics.
        subjects: (N,) names.
        resamples: bootstrap resamples of every interval.
    """

    images: Reread
    pixel_level: NDArray[np.bool_]
    healthy: Reread
    image_scores: NDArray[np.float32]
    anomalous: NDArray[np.bool_]
    image_level: NDArray[np.bool_]
    subjects: Sequence[str]
    resamples: int

    def maps(self) -> Iterator[Maps]:
        """The images that count for pixel metrics."""
        for each, counts in zip(self.images(), self.pixel_level, strict=True):
            if counts:
                yield each

    @cached_property
    def histogram(self) -> ScoreHistogram:
        """Scores of all pixels that count, by subject."""
        return ScoreHistogram.of(self.maps)

    @cached_property
    def pixels(self) -> PixelMetrics:
        """Metrics of all pixels pooled."""
        return pixel_metrics(self.maps, self.histogram)

    @cached_property
    def pixel_intervals(self) -> dict[str, Bounded]:
        """Intervals of ⌈DICE⌉, AUPRC and AUROC, all on the same resamples of the subjects."""
        points = {name: getattr(self.pixels, name) for name in ("best_dice", "auprc", "auroc")}
        return bootstrap(self.histogram, self.weights, points)

    @cached_property
    def weights(self) -> NDArray[np.int64]:
        """Resamples of the subjects of the pixel metrics."""
        return resample_weights(self.histogram.subjects, self.resamples)

    @cached_property
    def images_by_own_rule(self) -> ImageMetrics:
        """How the method's own scores rank the images."""
        return self._ranked(self.image_scores)

    @cached_property
    def images_by_quantile(self) -> ImageMetrics:
        """How the 99th percentile of each map ranks the images."""
        return self._ranked(self._flagged[1])

    def _ranked(self, scores: NDArray[np.float32]) -> ImageMetrics:
        if not self.image_level.any():
            return ImageMetrics(None, None, None, None)
        subjects = [subject for subject, counts in zip(self.subjects, self.image_level, strict=True) if counts]
        chosen, anomalous = scores[self.image_level], self.anomalous[self.image_level]
        return image_metrics(chosen, anomalous, subjects, self.resamples)

    @cached_property
    def thresholds(self) -> dict[float, HealthyThreshold]:
        """By rate of healthy pixels, those of the FROC curve and of the operating points."""
        rates = sorted({*FROC_RATES, *(point.rate for point in POINTS)})
        return dict(zip(rates, healthy_thresholds(self.healthy, rates), strict=True))

    def index(self, rate: float) -> int:
        """Place of a rate among the thresholds, and so in all counts at them."""
        return list(self.thresholds).index(rate)

    @property
    def flagged(self) -> FlaggedCounts:
        """Counts at each of the thresholds, in their order."""
        return self._flagged[0]

    @cached_property
    def _flagged(self) -> tuple[FlaggedCounts, NDArray[np.float32]]:
        """One pass over all images: what is flagged, and the score of each by the quantile of its map."""
        counts = FlaggedCounts([each.threshold for each in self.thresholds.values()])
        scores = np.empty(len(self.anomalous), np.float32)
        for i, (each, pixel_level) in enumerate(zip(self.images(), self.pixel_level, strict=True)):
            counts.add(*each, pixel_level=bool(pixel_level))
            scores[i] = map_quantile(*each[1:])
        return counts, scores

    @cached_property
    def healthy_counts(self) -> ScoreHistogram:
        """Scores of the healthy images in the bins of the test images."""
        counts = ScoreHistogram(self.histogram.bins)
        for each in self.healthy():
            counts.add(*each)
        return counts

    @cached_property
    def draws_at(self) -> Callable[[float], dict[str, Draws]]:
        """By rate: numbers at its threshold in resamples of test and of healthy subjects (`RESAMPLED`)."""
        return cache(lambda rate: draws_at(self.histogram, self.healthy_counts, rate, self.weights))


def map_quantile(scores: NDArray[np.float32], lesion: NDArray[np.bool_], valid: NDArray[np.bool_] | None) -> np.float32:
    """The smallest score that at least 99 % of the valid pixels do not exceed; the lowest float without any."""
    inside = scores.reshape(-1) if valid is None else scores[valid]
    if not inside.size:
        return np.float32(np.finfo(np.float32).min)
    at = int(np.ceil(IMAGE_QUANTILE * inside.size)) - 1
    return np.float32(np.partition(inside, at)[at])
