"""Dice at one fixed threshold, exact, with its interval over subjects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adbench.errors import ScoreError
from adbench.metrics.estimate import Interval
from adbench.metrics.histogram import Counts, chunks
from adbench.metrics.intervals import resample_weights, resampled_dice


class DiceAt:
    """Dice at one fixed threshold, exact, from streamed counts by subject.

    Dice is 2 TP / (2 TP + FP + FN). Without a lesion pixel it is None, whether or not pixels are flagged:
    such a set says nothing about overlap. A lesion of which nothing is flagged scores 0.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._counts: dict[str, Counts] = {}

    def add(self, subject: str, scores: np.ndarray, lesion: np.ndarray, valid: np.ndarray | None = None) -> None:
        """Count one or more maps of a subject; arguments and errors are those of `ScoreHistogram.add`."""
        counts = np.zeros(3, np.int64)  # true positives, flagged, lesion
        for chunk, is_lesion in chunks(subject, scores, lesion, valid):
            flagged = chunk >= self.threshold
            hits = np.count_nonzero(flagged & is_lesion)
            counts += (hits, np.count_nonzero(flagged), np.count_nonzero(is_lesion))
        self._add_counts(subject, counts)

    def merge(self, other: DiceAt) -> None:
        """Add the counts of `other`, taken at the same threshold.

        Raises:
            ScoreError: the thresholds differ.
        """
        if other.threshold != self.threshold:
            raise ScoreError(
                f"Dice counts merge at one threshold only; received {self.threshold} and {other.threshold}. "
                "Count both parts at the same threshold."
            )
        for subject, counts in list(other._counts.items()):
            self._add_counts(subject, counts)

    def _add_counts(self, subject: str, counts: Counts) -> None:
        self._counts[subject] = self._counts.get(subject, np.zeros(3, np.int64)) + counts

    @property
    def subjects(self) -> list[str]:
        """Names of all subjects added, sorted."""
        return sorted(self._counts)

    @property
    def pooled(self) -> float | None:
        """Dice over all valid pixels of all subjects; None without a lesion pixel."""
        hits, flagged, lesion = sum(self._counts.values(), np.zeros(3, np.int64))
        return float(2 * hits / (flagged + lesion)) if lesion else None

    @property
    def by_subject(self) -> dict[str, float]:
        """Dice of each subject that has a lesion."""
        counts = {subject: self._counts[subject] for subject in self.subjects}
        return {s: float(2 * hits / (flagged + lesion)) for s, (hits, flagged, lesion) in counts.items() if lesion}

    @property
    def subject_mean(self) -> float | None:
        """Mean of `by_subject`; None if no subject has a lesion."""
        values = list(self.by_subject.values())
        return float(np.mean(values)) if values else None

    def interval(
        self, n_resamples: int = 1000, seed: int = 0, weights: NDArray[np.int64] | None = None
    ) -> Interval | None:
        """95 % percentile interval of `pooled` over subjects, on the resamples of `bootstrap`, or None."""
        if weights is None:
            weights = resample_weights(self.subjects, n_resamples, seed)
        counts = np.array([self._counts[subject] for subject in self.subjects]).reshape(-1, 3)
        return resampled_dice(counts, weights)
