"""What is counted on a test set. Every count is taken once, when a metric first asks for it, and shared by all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np
from numpy.typing import NDArray

from adbench.metrics.dice import DiceAt
from adbench.metrics.estimate import Interval
from adbench.metrics.histogram import Reread, ScoreHistogram
from adbench.metrics.images import ImageMetrics, image_metrics
from adbench.metrics.intervals import bootstrap
from adbench.metrics.lesions import LesionsBySize, Stratum
from adbench.metrics.pixels import PixelMetrics, pixel_metrics


@dataclass(frozen=True)
class Evidence:
    """The scores of a test set and what is counted from them.

    Attributes:
        maps: gives (subject, scores, lesion, valid) of every image, each (1, H, W), the same at each call.
        transferred_threshold: fixed beforehand on healthy validation images.
        image_scores: (N,), one number an image, higher = more anomalous.
        anomalous: (N,) bool, whether the image has a lesion.
        image_subjects: (N,) names.
        resamples: bootstrap resamples of every interval.
    """

    maps: Reread
    transferred_threshold: float
    image_scores: NDArray[np.float32]
    anomalous: NDArray[np.bool_]
    image_subjects: Sequence[str]
    resamples: int

    @cached_property
    def histogram(self) -> ScoreHistogram:
        """Scores of all pixels that count, by subject."""
        histogram = ScoreHistogram()
        for each in self.maps():
            histogram.add(*each)
        return histogram

    @cached_property
    def pixels(self) -> PixelMetrics:
        """Metrics of all pixels pooled, from scores that are read again where that makes them exact."""
        return pixel_metrics(self.histogram, self.maps)

    @cached_property
    def pixel_intervals(self) -> dict[str, Interval | None]:
        """Intervals of ⌈DICE⌉, AUPRC and AUROC, all on the same resamples of the subjects."""
        return bootstrap(self.histogram, self.resamples, point=self.pixels)

    @cached_property
    def images(self) -> ImageMetrics:
        """How the image-level scores rank the images."""
        return image_metrics(self.image_scores, self.anomalous, self.resamples, subjects=self.image_subjects)

    @property
    def dice_best(self) -> DiceAt:
        """Counts at the threshold of ⌈DICE⌉; without any subject where no lesion pixel counts."""
        return self._at_thresholds[0]

    @property
    def dice_transferred(self) -> DiceAt:
        """Counts at the transferred threshold; without any subject where no lesion pixel counts."""
        return self._at_thresholds[1]

    @cached_property
    def strata(self) -> list[Stratum]:
        """Lesions by size at both thresholds; none where no lesion pixel counts."""
        return self._at_thresholds[2].strata(self.resamples)

    @cached_property
    def _at_thresholds(self) -> tuple[DiceAt, DiceAt, LesionsBySize]:
        """One pass over all maps, for what can be counted once the threshold of ⌈DICE⌉ is known."""
        best = self.pixels.best_threshold
        thresholds = (inf if best is None else best, self.transferred_threshold)
        counters = (DiceAt(thresholds[0]), DiceAt(thresholds[1]), LesionsBySize(thresholds))
        for each in self.maps() if best is not None else ():
            for counter in counters:
                counter.add(*each)
        return counters
