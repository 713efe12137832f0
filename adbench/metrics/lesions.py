"""Lesions by size: how many are found, and how much of them, among small and among large ones.

A lesion is a set of connected lesion pixels of one slice (8 neighbours), within the pixels that count: a lesion in
three dimensions counts once in every slice that it crosses. Its size is its share of the image's pixels. Shares and not
pixels, since all images of a set are resampled to one matrix over about the same field of view: an edge then stands for
about the same area in mm2 at 64, 128 and 256 px, which no fixed number of pixels does. In a field of view of 220 mm,
the edges 0.1 %, 0.5 % and 2 % are about 50, 240 and 970 mm2: discs of 8, 18 and 35 mm. At 64 px they are 4, 20 and 82
pixels, at 256 px 66, 328 and 1,311.

A lesion is detected where at least a tenth of its pixels are flagged, the rule of the MSSEG challenge for the overlap
that a lesion needs (Commowick et al. 2018, Sci. Rep. 8, 13650). Any overlap, the other common rule, is met by chance
the more easily the larger a lesion is. Neither rule punishes false positives: read it beside ⌈DICE⌉, whose threshold
pays for them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from adbench.metrics.estimate import Estimate
from adbench.metrics.intervals import resample_weights

EDGES = (0.001, 0.005, 0.02)
"""Ends of the ranges of sizes, as shares of the image's pixels."""
ONE_IN = 10
"""A lesion is detected where at least one in so many of its pixels is flagged."""
_NEIGHBOURS = np.ones((3, 3), bool)
_LESIONS, _PIXELS, _DETECTED, _FLAGGED = range(4)


class Stratum(BaseModel):
    """The lesions of one range of sizes: connected lesion pixels of a slice, by their share of the image's pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    from_fraction: float
    to_fraction: float | None
    """The range is from <= share < to; None where it has no upper end."""
    lesions: int
    pixels: int
    recall: Estimate
    """Fraction of their pixels that are flagged at the threshold of ⌈DICE⌉."""
    detected: Estimate
    """Fraction of the lesions that are detected there."""
    recall_transferred: Estimate
    detected_transferred: Estimate
    """The same at the transferred threshold."""


class LesionsBySize:
    """Counts of lesions and of their pixels by range of sizes, exact, streamed by subject.

    Args:
        thresholds: of ⌈DICE⌉, and the transferred one.
    """

    def __init__(self, thresholds: tuple[float, float]) -> None:
        self._thresholds = thresholds
        self._counts: dict[str, NDArray[np.int64]] = {}
        """Subject -> (thresholds, ranges, 4)."""

    def add(
        self,
        subject: str,
        scores: NDArray[np.float32],
        lesion: NDArray[np.bool_],
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count the lesions of one slice; all arrays are (1, H, W), `valid` None where all pixels count."""
        shape = (len(self._thresholds), len(EDGES) + 1, 4)
        counts = self._counts.setdefault(subject, np.zeros(shape, np.int64))
        inside = lesion[0] if valid is None else lesion[0] & valid[0]
        if not inside.any():
            return
        labels, n = ndimage.label(inside, _NEIGHBOURS)
        label, score = labels[inside], scores[0][inside]
        pixels = np.bincount(label, minlength=n + 1)[1:]
        size = np.searchsorted(EDGES, pixels / inside.size, side="right")
        for at_threshold, threshold in zip(counts, self._thresholds, strict=True):
            flagged = np.bincount(label[score >= threshold], minlength=n + 1)[1:]
            values = np.stack([np.ones_like(pixels), pixels, ONE_IN * flagged >= pixels, flagged], axis=1)
            np.add.at(at_threshold, size, values)

    def strata(self, resamples: int) -> list[Stratum]:
        """One entry a range, smallest lesions first, with intervals on the resamples of the metrics.

        Empty where no slice was added.
        """
        if not self._counts:
            return []
        subjects = sorted(self._counts)
        weights = resample_weights(subjects, resamples)
        counts = np.stack([self._counts[subject] for subject in subjects])
        ranges = zip((0.0, *EDGES), (*EDGES, None), strict=True)
        return [_stratum(counts[:, :, i], weights, low, high) for i, (low, high) in enumerate(ranges)]


def _stratum(counts: NDArray[np.int64], weights: NDArray[np.int64], low: float, high: float | None) -> Stratum:
    """One range; counts are (subjects, thresholds, 4)."""
    best, transferred = counts[:, 0], counts[:, 1]
    whole = best.sum(0)
    return Stratum(
        from_fraction=low,
        to_fraction=high,
        lesions=int(whole[_LESIONS]),
        pixels=int(whole[_PIXELS]),
        recall=_ratio(best[:, _FLAGGED], best[:, _PIXELS], weights),
        detected=_ratio(best[:, _DETECTED], best[:, _LESIONS], weights),
        recall_transferred=_ratio(transferred[:, _FLAGGED], transferred[:, _PIXELS], weights),
        detected_transferred=_ratio(transferred[:, _DETECTED], transferred[:, _LESIONS], weights),
    )


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64], weights: NDArray[np.int64]) -> Estimate:
    """Pooled fraction with its 95 % percentile interval; resamples that drew no such lesion are left out."""
    if not whole.any():
        return Estimate(value=None)
    parts, wholes = weights @ part, weights @ whole
    drawn = parts[wholes > 0] / wholes[wholes > 0]
    low, high = np.percentile(drawn, [2.5, 97.5]) if drawn.size else (None, None)
    return Estimate(value=float(part.sum() / whole.sum()), low=low, high=high)
