"""Streamed counts of lesion and other pixels: of all subjects in fine bins of scores, of each in coarse ones.

Counts add up, whatever the order of batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adbench.metrics.bins import Bins
from adbench.metrics.maps import Reread, ordered, pieces

Counts = NDArray[np.int64]


class ScoreHistogram:
    """Counts of lesion and other pixels by bin, pooled and by subject."""

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self._pooled = np.zeros((2, bins.n_fine), np.int64)
        self._by_subject: dict[str, Counts] = {}
        self.checksum = 0
        """Sum of all scores as ordered integers: another reading of the same maps has the same."""

    @classmethod
    def of(cls, maps: Reread) -> ScoreHistogram:
        """Choose bins and count, in two readings. Raises ScoreError as `add` does."""
        histogram = cls(Bins.choose(maps()))
        for each in maps():
            histogram.add(*each)
        return histogram

    def add(self, subject: str, scores: np.ndarray, lesion: np.ndarray, valid: np.ndarray | None = None) -> None:
        """Count the pixels of one or more maps of a subject; a subject seen before accumulates.

        Raises:
            ScoreError: shapes differ, or a valid score is NaN or infinite. Nothing is counted then.
        """
        n, checksum = self.bins.n_fine, 0
        counts = np.zeros((2, n), np.int64)
        for chunk, is_lesion in pieces(subject, scores, lesion, valid):
            keys = ordered(chunk)
            checksum += int(keys.sum(dtype=np.int64))
            bins = self.bins.find(keys)
            counts[0] += np.bincount(bins[is_lesion], minlength=n)
            counts[1] += np.bincount(bins, minlength=n)
        counts[1] -= counts[0]
        self.checksum += checksum
        self._pooled += counts
        coarse = np.add.reduceat(counts, self.bins.coarse_starts, axis=1)
        self._by_subject[subject] = self._by_subject.get(subject, 0) + coarse

    @classmethod
    def from_counts(cls, bins: Bins, subjects: Sequence[str], counts: Counts) -> ScoreHistogram:
        """Of counts (2, subjects, bins) in bins that are all coarse.

        Raises:
            ValueError: shapes do not fit, or a count is negative.
        """
        if counts.shape != (2, len(subjects), bins.n_fine) or not bins.is_coarse.all() or (counts < 0).any():
            raise ValueError(f"counts {counts.shape} do not fit {len(subjects)} subjects and {bins.n_fine} bins")
        histogram = cls(bins)
        histogram._pooled += counts.sum(axis=1, dtype=np.int64)
        histogram._by_subject = {s: counts[:, i].astype(np.int64) for i, s in enumerate(subjects)}
        return histogram

    def coarse(self) -> ScoreHistogram:
        """The same counts in coarse bins alone."""
        edges = self.bins.edges[self.bins.is_coarse]
        return self.from_counts(Bins(edges, np.ones(edges.size, bool)), self.subjects, self.by_subject())

    def joined(self) -> ScoreHistogram:
        """The counts in coarse bins, of which every two are made one."""
        edges, counts = self.bins.edges[self.bins.is_coarse][1::2], self.by_subject()
        counts = np.add.reduceat(counts, np.arange(0, counts.shape[2], 2), axis=2)
        return self.from_counts(Bins(edges, np.ones(edges.size, bool)), self.subjects, counts)

    def pooled(self) -> tuple[Counts, Counts]:
        """Lesion and other pixels of all subjects, each (fine bins,), ascending with the score."""
        return self._pooled[0], self._pooled[1]

    def by_subject(self) -> Counts:
        """(2, subjects, coarse bins): lesion and other pixels, subjects sorted, bins ascending with the score."""
        if not self._by_subject:
            return np.zeros((2, 0, self.bins.coarse_starts.size), np.int64)
        return np.stack([self._by_subject[subject] for subject in self.subjects], axis=1)

    @property
    def subjects(self) -> list[str]:
        """Names of all subjects added, sorted."""
        return sorted(self._by_subject)

    @property
    def positives(self) -> int:
        """Number of valid lesion pixels."""
        return int(self._pooled[0].sum())

    @property
    def negatives(self) -> int:
        """Number of valid pixels outside lesions."""
        return int(self._pooled[1].sum())

    @property
    def prevalence(self) -> float | None:
        """Fraction of valid pixels that are lesion; None without a pixel."""
        total = self.positives + self.negatives
        return self.positives / total if total else None
