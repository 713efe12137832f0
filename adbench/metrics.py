"""Pixel metrics from streamed counts: ⌈DICE⌉, AUPRC and AUROC over all valid test pixels.

Scores are float32 and higher is more anomalous; a pixel is flagged where `score >= threshold`, so equal
scores stand or fall together. Each subject's positives (lesion) and negatives are counted in 65,536
order-preserving bins, the upper 16 bits of the score's bit pattern: sign, exponent, 7 bits of fraction. A bin
is thus at most 2**-7 (0.8 %) of its score wide, anywhere in the float32 range and without a minimum or
maximum to know beforehand. Adding histograms merges them, whatever the order of batches and machines.

Cumulative sums over the bins give the three curves. What the order of the scores inside a bin could change is
the binning error: its bound is published beside each value, and shrinks when the scores can be read a second
time, as the bins that matter are then split further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from adbench.bootstrap import (
    ImageMetrics,
    Interval,
    bootstrap,
    image_metrics,
    paired_difference,
    resample_weights,
    resampled_dice,
)
from adbench.errors import ScoreError

__all__ = [
    "DiceAt",
    "ImageMetrics",
    "PixelMetrics",
    "ScoreHistogram",
    "bootstrap",
    "check_scores",
    "image_metrics",
    "paired_difference",
    "pixel_metrics",
    "quantile",
    "resample_weights",
]

Maps = tuple[str, np.ndarray, np.ndarray, np.ndarray | None]  # subject, scores, lesion, valid
Reread = Callable[[], Iterable[Maps]]
Counts = NDArray[np.int64]

_CHUNK = 1 << 17  # scores at a time: all temporaries of a chunk fit the second-level cache
_BINS = 1 << 16
_CELLS = 1 << 18  # cells of one re-reading: two int64 counts each, 4 MB
_LUT = 1 << 20  # widest span of cells found by table instead of by bisection
_TOLERANCE = 2e-4  # bins are split for AUPRC and AUROC until the others can add no more error than this


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
        total, positives = np.zeros(_BINS, np.int64), np.zeros(_BINS, np.int64)
        for chunk, is_lesion in _chunks(subject, scores, lesion, valid):
            codes = ((_ordered(chunk) >> 16) + _BINS // 2).astype(np.uint16)
            total += np.bincount(codes, minlength=_BINS)
            positives += np.bincount(codes[is_lesion], minlength=_BINS)
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
            total, positives = np.zeros(_BINS, np.int64), np.zeros(_BINS, np.int64)
            total[codes], positives[codes] = pos + neg, pos
            self._add_counts(subject, total, positives)

    def bins(self, subject: str) -> tuple[NDArray[np.uint16], Counts, Counts]:
        """The subject's (codes, positives, negatives), codes ascending with the score, only bins in use."""
        return self._bins[subject]

    def pooled(self) -> tuple[Counts, Counts]:
        """Positives and negatives of all subjects together, each (65,536,), ascending with the score."""
        positives, negatives = np.zeros(_BINS, np.int64), np.zeros(_BINS, np.int64)
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
        subject_dice_mean: Dice of each subject at `best_threshold`, averaged over subjects that have a
            lesion; None if none has.
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
    subject_dice_mean: float | None
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
    along with them. This usually takes two passes over the scores, and a third for `subject_dice_mean`.

    Args:
        hist: counts of the test set.
        reread: gives an iterable of the same (subject, scores, lesion, valid) that were added, at each call.

    Raises:
        ScoreError: the scores read again are not those that were added.
    """
    curve = _Curve.of(hist)
    positives, negatives = int(curve.pos.sum()), int(curve.neg.sum())
    if reread is not None and positives:
        curve = _split_while_useful(curve, reread)
    dice, threshold, dice_bound = curve.best_dice() if positives else (None, None, None)
    auprc, auprc_bound = curve.auprc() if positives else (None, None)
    auroc, auroc_bound = curve.auroc() if positives and negatives else (None, None)
    return PixelMetrics(
        best_dice=dice,
        best_threshold=threshold,
        best_dice_error_bound=dice_bound,
        subject_dice_mean=None if threshold is None else _dice_at(hist, threshold, reread).subject_mean,
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
    return float(_value(np.array((int(code) - _BINS // 2) << 16)))


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
        for chunk, is_lesion in _chunks(subject, scores, lesion, valid):
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


def _dice_at(hist: ScoreHistogram, threshold: float, reread: Reread | None) -> DiceAt:
    """Counts at `threshold` from the scores, or from the bins when it is the lower edge of one."""
    result = DiceAt(threshold)
    if reread is not None:
        for maps in reread():
            result.add(*maps)
        return result
    edge = (int(_ordered(np.array([threshold], np.float32))[0]) >> 16) + _BINS // 2
    for subject in hist.subjects:
        codes, pos, neg = hist.bins(subject)
        above = codes >= edge
        hits = pos[above].sum()
        result._add_counts(subject, np.array([hits, hits + neg[above].sum(), pos.sum()]))
    return result


@dataclass(frozen=True)
class _Curve:
    """Pooled counts in cells of scores, from the highest score down.

    Attributes:
        low: (C,) ordered integer of the lowest score in each cell (see `_ordered`).
        bits: (C,) low bits of that integer not yet looked at; 0 means that the cell holds one score.
        pos: (C,) lesion pixels.
        neg: (C,) other pixels.
    """

    low: Counts
    bits: Counts
    pos: Counts
    neg: Counts

    @classmethod
    def of(cls, hist: ScoreHistogram) -> _Curve:
        pos, neg = hist.pooled()
        used = np.flatnonzero(pos + neg)[::-1]
        return cls((used - _BINS // 2) << 16, np.full(used.size, 16), pos[used], neg[used])

    def best_dice(self) -> tuple[float, float, float]:
        """Largest Dice at the edge of a cell, its threshold, and how much larger it could be inside one."""
        dice = self.dice()
        best = int(dice.argmax())
        return float(dice[best]), float(_value(self.low[best])), float(self.dice_bound().max() - dice[best])

    def dice(self) -> NDArray[np.float64]:
        """(C,) Dice when all cells down to each are flagged: 2 TP / (P + TP + FP)."""
        tp = self.pos.cumsum()
        return 2 * tp / (self.pos.sum() + tp + self.neg.cumsum())

    def dice_bound(self) -> NDArray[np.float64]:
        """(C,) largest Dice that a threshold inside each cell can reach: all its lesion pixels come first."""
        tp = self.pos.cumsum()
        bound = 2 * tp / (self.pos.sum() + tp + self.neg.cumsum() - self.neg)
        return np.where(self.bits > 0, bound, self.dice())

    def auprc(self) -> tuple[float, float]:
        """Average precision with each cell a tie, and the bound on its error."""
        tp, fp = self.pos.cumsum(), self.neg.cumsum()
        below, above = self.auprc_gaps()
        return float((self.pos * (tp / (tp + fp))).sum() / tp[-1]), float(max(below.sum(), above.sum()))

    def auprc_gaps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(C,) how far the worst and the best order inside each cell move AUPRC down and up.

        At best all lesion pixels of a cell tie above its others. At worst its others come first and the
        lesion pixels follow one by one, k = 1, 2, ...: the sum of (TP + k) / (TP + k + FP), where digamma
        stands for the sum of 1 / (TP + k + FP).
        """
        tp, fp = self.pos.cumsum(), self.neg.cumsum()
        tied = self.pos * (tp / (tp + fp))
        best = self.pos * (tp / np.maximum(tp + fp - self.neg, 1))
        start = tp - self.pos + fp
        worst = self.pos - fp * (digamma(start + self.pos + 1.0) - digamma(start + 1.0))
        open_cell = (self.bits > 0) & (self.pos > 0)
        scale = open_cell / tp[-1]
        return np.maximum(tied - worst, 0) * scale, (best - tied) * scale

    def auroc(self) -> tuple[float, float]:
        """Area under the ROC curve with each cell a tie, and the bound on its error."""
        tp = self.pos.cumsum()
        pairs = float(tp[-1]) * float(self.neg.sum())  # the product of integers could pass 2**63
        return float((self.neg * (tp - self.pos / 2)).sum() / pairs), float(self.auroc_gaps().sum())

    def auroc_gaps(self) -> NDArray[np.float64]:
        """(C,) how far the order inside each cell can move AUROC either way: half its pairs."""
        pairs = float(self.pos.sum()) * max(float(self.neg.sum()), 1.0)
        return np.where(self.bits > 0, self.pos.astype(np.float64) * self.neg / 2 / pairs, 0.0)


def _split_while_useful(curve: _Curve, reread: Reread) -> _Curve:
    """Split cells until no open one can hold a better Dice; the first pass splits for AUPRC and AUROC too."""
    below, above = curve.auprc_gaps()
    wanted = _largest(np.maximum(below, above)) | _largest(curve.auroc_gaps())
    while True:
        wanted |= (curve.bits > 0) & (curve.dice_bound() >= curve.dice().max())
        if not wanted.any():
            return curve
        curve = _split(curve, np.flatnonzero(wanted), reread)
        wanted = np.zeros(curve.low.size, bool)


def _largest(gaps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the fewest cells that leave a total gap of at most the tolerance in the others."""
    order = np.argsort(-gaps, kind="stable")
    left = gaps.sum() - gaps[order].cumsum() + gaps[order]  # before each is taken
    chosen = np.zeros(gaps.size, bool)
    chosen[order[left > _TOLERANCE]] = True
    return chosen


def _split(curve: _Curve, chosen: NDArray[np.intp], reread: Reread) -> _Curve:
    """Read the scores again to replace the chosen cells, all with the same open bits, by finer ones."""
    chosen = chosen[::-1]  # ascending scores
    open_bits = int(curve.bits[chosen[0]])
    # as many bits as the cells allow, at least one so that every pass gets on
    split_bits = min(open_bits, max(1, (_CELLS // chosen.size).bit_length() - 1))
    left = open_bits - split_bits
    total, pos = _count_cells(curve.low[chosen] >> open_bits, open_bits, split_bits, reread)
    _check_same(total, pos, curve.pos[chosen] + curve.neg[chosen], curve.pos[chosen])
    used = np.flatnonzero(total)
    cell, part = np.divmod(used, 1 << split_bits)
    keep = np.ones(curve.low.size, bool)
    keep[chosen] = False
    low = np.concatenate([curve.low[keep], curve.low[chosen][cell] + (part << left)])
    order = np.argsort(-low, kind="stable")
    return _Curve(
        low[order],
        np.concatenate([curve.bits[keep], np.full(used.size, left)])[order],
        np.concatenate([curve.pos[keep], pos[used]])[order],
        np.concatenate([curve.neg[keep], total[used] - pos[used]])[order],
    )


def _count_cells(prefixes: Counts, open_bits: int, split_bits: int, reread: Reread) -> tuple[Counts, Counts]:
    """All pixels and lesion pixels in each part of the cells, each (cells * 2**split_bits,), ascending."""
    total = np.zeros(prefixes.size << split_bits, np.int64)
    pos = np.zeros_like(total)
    find = _finder(prefixes)
    low, high = int(prefixes[0]) << open_bits, ((int(prefixes[-1]) + 1) << open_bits) - 1
    for maps in reread():
        for chunk, is_lesion in _chunks(*maps):
            keys = _ordered(chunk)
            near = np.flatnonzero((keys >= low) & (keys <= high))
            keys = keys[near]
            cell = find(keys >> open_bits)
            inside = np.flatnonzero(cell >= 0)
            part = (keys[inside] >> (open_bits - split_bits)) & ((1 << split_bits) - 1)
            index = (cell[inside] << split_bits) | part
            np.add.at(total, index, 1)
            np.add.at(pos, index[is_lesion[near[inside]]], 1)
    return total, pos


def _finder(prefixes: Counts) -> Callable[[NDArray[np.int32]], NDArray[np.int32]]:
    """A function from prefixes to their position among the ascending `prefixes`, -1 where absent."""
    first, span = int(prefixes[0]), int(prefixes[-1] - prefixes[0]) + 1
    positions = np.arange(prefixes.size, dtype=np.int32)
    if span <= _LUT:
        table = np.full(span, -1, np.int32)
        table[prefixes - first] = positions
        return lambda wanted: table[wanted - first]

    def bisect(wanted: NDArray[np.int32]) -> NDArray[np.int32]:
        at = np.searchsorted(prefixes, wanted).clip(max=prefixes.size - 1)
        return np.where(prefixes[at] == wanted, positions[at], np.int32(-1))

    return bisect


def _check_same(total: Counts, pos: Counts, total_before: Counts, pos_before: Counts) -> None:
    """Refuse scores that changed between the readings: the metrics would mix two score maps."""
    if (total.reshape(total_before.size, -1).sum(1) != total_before).any() or (
        pos.reshape(pos_before.size, -1).sum(1) != pos_before
    ).any():
        raise ScoreError(
            f"Scores read again must equal those counted before; {int(total.sum())} pixels were found where "
            f"{int(total_before.sum())} were counted, or scores or labels moved. Keep the first score maps."
        )


def _chunks(
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


def _ordered(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """Integers in the order of the scores: the bit pattern, with all but the sign flipped below zero."""
    bits = (scores + np.float32(0)).view(np.int32)  # adding zero turns -0.0 into 0.0, so that both tie
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


def _value(ordered: Counts) -> NDArray[np.float32]:
    """The scores of ordered integers, the inverse of `_ordered`."""
    ordered = np.asarray(ordered).astype(np.int32)
    return (ordered ^ ((ordered >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)
