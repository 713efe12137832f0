"""What is flagged at fixed thresholds: pixels, lesions found, and components that touch no lesion.

A lesion is a set of connected lesion pixels of one slice (8 neighbours), within the pixels that count: a lesion in
three dimensions counts once in every slice that it crosses. It is found where at least a tenth of its pixels are
flagged, the rule of the MSSEG challenge for the overlap that a lesion needs (Commowick et al. 2018, Sci. Rep. 8,
13650). A component is a set of connected flagged pixels; it is false where it touches no lesion pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from adbench.metrics.maps import check_scores

ONE_IN = 10
"""A lesion is found where at least one in so many of its pixels is flagged."""
EDGES = (0.001, 0.005, 0.02)
"""Ends of the ranges of sizes of lesions, as shares of the image's pixels.

Shares and not pixels, since all images of a set are resampled to one matrix over about the same field of view: an edge
then stands for about the same area in mm2 at 64, 128 and 256 px, which no fixed number of pixels does. In a field of
view of 220 mm, the edges are about 50, 240 and 970 mm2: discs of 8, 18 and 35 mm.
"""
SIZES = len(EDGES) + 1
_NEIGHBOURS = np.ones((3, 3), bool)

Counts = NDArray[np.int64]


class FlaggedCounts:
    """Counts at each threshold, exact, streamed by subject; a pixel is flagged where its score is greater.

    Args:
        thresholds: K scores.

    Attributes:
        pixels: subject -> (K, 3): lesion pixels flagged, pixels flagged, lesion pixels; of images for pixel metrics.
        components: subject -> (K, 3): components, false ones, slices; of all images.
        lesions: subject -> (K, ranges of size, 4): lesions, found ones, their pixels, those flagged.
        clean: subject -> (K, 2): pixels flagged and pixels, of slices without a lesion.
        outside: subject -> (K, 2): the same outside the lesions of slices with one.
    """

    def __init__(self, thresholds: Sequence[float]) -> None:
        self.thresholds = np.array(thresholds, np.float32)
        self.pixels: dict[str, Counts] = {}
        self.components: dict[str, Counts] = {}
        self.lesions: dict[str, Counts] = {}
        self.clean: dict[str, Counts] = {}
        self.outside: dict[str, Counts] = {}

    def add(
        self,
        subject: str,
        scores: NDArray[np.float32],
        lesion: NDArray[np.bool_],
        valid: NDArray[np.bool_] | None,
        pixel_level: bool = True,
    ) -> None:
        """Count one slice; arrays are (1, H, W), `valid` None where all pixels count.

        Args:
            pixel_level: whether the slice counts for pixel metrics.

        Raises:
            ScoreError: a score that counts is NaN or infinite.
        """
        inside = np.ones(lesion.shape[1:], bool) if valid is None else valid[0]
        lesion, scores = lesion[0] & inside, np.where(inside, scores[0], np.float32(0))
        check_scores(scores, scores.shape)
        flagged = (scores > self.thresholds[:, None, None]) & inside
        n, hits, size = (
            flagged.sum(axis=(1, 2)),
            (flagged & lesion).sum(axis=(1, 2)),
            np.full(len(flagged), lesion.sum()),
        )
        if pixel_level:
            _add(self.pixels, subject, np.stack([hits, n, size], axis=1))
        free, where = np.full(len(flagged), inside.sum()) - size, self.outside if lesion.any() else self.clean
        _add(where, subject, np.stack([n - hits, free], axis=1))
        _add(self.components, subject, np.array([[*_components(each, lesion), 1] for each in flagged]))
        _add(self.lesions, subject, _lesions(flagged, lesion))


def _add(counts: dict[str, Counts], subject: str, more: NDArray[np.integer]) -> None:
    counts[subject] = counts.get(subject, 0) + more.astype(np.int64)


def _components(flagged: NDArray[np.bool_], lesion: NDArray[np.bool_]) -> tuple[int, int]:
    """Number of components, and of those that touch no lesion pixel."""
    labels, n = ndimage.label(flagged, _NEIGHBOURS)
    touching = np.unique(labels[lesion])
    return n, n - int(np.count_nonzero(touching))


def _lesions(flagged: NDArray[np.bool_], lesion: NDArray[np.bool_]) -> Counts:
    """(K, ranges of size, 4): lesions, found ones, their pixels, those flagged."""
    counts = np.zeros((len(flagged), SIZES, 4), np.int64)
    if not lesion.any():
        return counts
    labels, n = ndimage.label(lesion, _NEIGHBOURS)
    label = labels[lesion]
    pixels = np.bincount(label, minlength=n + 1)[1:]
    size = np.searchsorted(EDGES, pixels / lesion.size, side="right")
    for at_threshold, mask in zip(counts, flagged, strict=True):
        hits = np.bincount(label[mask[lesion]], minlength=n + 1)[1:]
        np.add.at(at_threshold, size, np.stack([np.ones_like(pixels), ONE_IN * hits >= pixels, pixels, hits], axis=1))
    return counts
