"""Streamed counts of scores: per subject, lesion and other pixels in 65,536 order-preserving bins.

The bins are the upper 16 bits of the float32 score's bit pattern: sign, exponent, 7 bits of fraction. A bin is thus at
most 2**-7 (0.8 %) of its score wide, anywhere in the float32 range and without a minimum or maximum to know beforehand.
Adding histograms merges them, whatever the order of batches and machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from adbench.errors import ScoreError

Maps = tuple[str, np.ndarray, np.ndarray, np.ndarray | None]  # subject, scores, lesion, valid
Reread = Callable[[], Iterable[Maps]]
Counts = NDArray[np.int64]

_CHUNK = 1 << 17  # scores at a time: all temporaries of a chunk fit the second-level cache
BINS = 1 << 16


def check_scores(scores: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return `scores` as float32 after checking a detector's output.

    Args:
        scores: score maps as the detector gave them.
        shape: the shape they must have, such as (B, 1, H, W).

    Raises:
        ScoreError: wrong shape, or a value that is NaN or infinite as float32.
    """
    scores = np.asarray(scores)
    if scores.shape != tuple(shape):
        raise ScoreError(
            f"Score maps must have the shape {tuple(shape)}; received {scores.shape}. "
            "Return one score for each pixel of each image."
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which is refused below
        scores = scores.astype(np.float32, copy=False)
    finite = np.isfinite(scores)
    if not finite.all():
        raise ScoreError(
            f"Scores must be finite; {int((~finite).sum())} of {scores.size} are not, the first is "
            f"{scores[~finite][0]}. Find where the detector divides by zero or overflows."
        )
    return scores


class ScoreHistogram:
    """Counts of lesion and other pixels by subject and score bin; only the bins in use are kept."""

    def __init__(self) -> None:
        self._bins: dict[str, tuple[NDArray[np.uint16], Counts, Counts]] = {}

    def add(self, subject: str, scores: np.ndarray, lesion: np.ndarray, valid: np.ndarray | None = None) -> None:
        """Count the pixels of one or more maps of a subject; a subject seen before accumulates.

        Args:
            subject: name; intervals are drawn over subjects.
            scores: float32, any shape, higher = more anomalous.
            lesion: same shape, true where the pixel is anomalous.
            valid: same shape; pixels where it is false are counted nowhere. None counts all.

        Raises:
            ScoreError: shapes differ, or a valid score is NaN or infinite. Nothing is counted then.
        """
        total, positives = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
        for chunk, is_lesion in chunks(subject, scores, lesion, valid):
            codes = ((ordered(chunk) >> 16) + BINS // 2).astype(np.uint16)
            total += np.bincount(codes, minlength=BINS)
            positives += np.bincount(codes[is_lesion], minlength=BINS)
        self._add_counts(subject, total, positives)

    def _add_counts(self, subject: str, total: Counts, positives: Counts) -> None:
        """Add dense counts (65,536,) to the sparse ones of the subject."""
        if subject in self._bins:
            codes, pos, neg = self._bins[subject]
            total[codes] += pos + neg
            positives[codes] += pos
        used = np.flatnonzero(total > 0)
        pos = positives[used]
        self._bins[subject] = (used.astype(np.uint16), pos, total[used] - pos)

    def merge(self, other: ScoreHistogram) -> None:
        """Add the counts of `other`, as if all its maps had been added here."""
        for subject, (codes, pos, neg) in list(other._bins.items()):
            total, positives = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
            total[codes], positives[codes] = pos + neg, pos
            self._add_counts(subject, total, positives)

    def bins(self, subject: str) -> tuple[NDArray[np.uint16], Counts, Counts]:
        """The subject's (codes, positives, negatives), codes ascending with the score, only bins in use."""
        return self._bins[subject]

    def pooled(self) -> tuple[Counts, Counts]:
        """Positives and negatives of all subjects together, each (65,536,), ascending with the score."""
        positives, negatives = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
        for codes, pos, neg in self._bins.values():
            positives[codes] += pos
            negatives[codes] += neg
        return positives, negatives

    @property
    def subjects(self) -> list[str]:
        """Names of all subjects added, sorted."""
        return sorted(self._bins)

    @property
    def positives(self) -> int:
        """Number of valid lesion pixels."""
        return sum(int(pos.sum()) for _, pos, _ in self._bins.values())

    @property
    def negatives(self) -> int:
        """Number of valid pixels outside lesions."""
        return sum(int(neg.sum()) for _, _, neg in self._bins.values())

    @property
    def prevalence(self) -> float | None:
        """Fraction of valid pixels that are lesion; None without a pixel."""
        positives, negatives = self.positives, self.negatives
        return positives / (positives + negatives) if positives + negatives else None


def chunks(
    subject: str, scores: np.ndarray, lesion: np.ndarray, valid: np.ndarray | None
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Check the maps and give their valid (scores, lesion) flat, a cache-sized piece at a time."""
    scores, lesion = np.asarray(scores), np.asarray(lesion)
    valid = None if valid is None else np.asarray(valid)
    if scores.shape != lesion.shape or (valid is not None and valid.shape != scores.shape):
        shapes = f"{scores.shape}, {lesion.shape}" + ("" if valid is None else f" and {valid.shape}")
        raise ScoreError(
            f"Scores, lesion and valid of a subject must share a shape; subject {subject!r} has {shapes}. "
            "Resample the masks to the score map."
        )
    scores, lesion = scores.reshape(-1), lesion.reshape(-1)
    for start in range(0, scores.size, _CHUNK):
        piece = slice(start, start + _CHUNK)
        chunk, is_lesion = scores[piece], lesion[piece].astype(bool, copy=False)
        if valid is not None:
            inside = valid.reshape(-1)[piece].astype(bool, copy=False)
            chunk, is_lesion = chunk[inside], is_lesion[inside]
        yield check_scores(chunk, chunk.shape), is_lesion


def ordered(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """Integers in the order of the scores: the bit pattern, with all but the sign flipped below zero."""
    bits = (scores + np.float32(0)).view(np.int32)  # adding zero turns -0.0 into 0.0, so that both tie
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


def value_of(keys: Counts) -> NDArray[np.float32]:
    """The scores of ordered integers, the inverse of `ordered`."""
    bits = np.asarray(keys).astype(np.int32)
    return (bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)
