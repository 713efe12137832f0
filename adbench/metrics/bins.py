"""Bins of scores whose edges are scores themselves, chosen by rank, so that no metric depends on the scores' scale.

The edges are order statistics of a sample of the pixels. Which pixels are drawn depends on their places and labels
alone, so any strictly increasing map of the scores maps the edges along and moves no pixel to another bin. One half of
the edges has equally many lesion pixels between two of them, which keeps AUPRC sharp, the other equally many pixels,
which does so for AUROC. A value that holds many pixels gets a bin of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from adbench.metrics.maps import Keys, Maps, flat, ordered

FINE, COARSE = 8192, 512
"""Most bins of all subjects pooled, and of one subject."""
_SAMPLE = 1 << 17  # pixels of each sample: from 16 to 32 a fine bin
_TABLE = 22  # bits of the table that finds most bins without a search


@dataclass(frozen=True, eq=False)
class Bins:
    """Bin c of the scores: those from edge c - 1 on, below edge c; bin 0 lies below all edges.

    Attributes:
        edges: (E,) ascending ordered integers of fine edges.
        is_coarse: (E,) bool, the edges that part the coarse bins too.
    """

    edges: Keys
    is_coarse: NDArray[np.bool_]

    @classmethod
    def choose(cls, maps: Iterable[Maps]) -> Bins:
        """Choose edges for the maps, which are read once. Raises ScoreError where shapes of a subject differ."""
        pixels, lesions = _Sample(), _Sample()
        for subject, scores, lesion, valid in maps:
            scores, lesion, valid = flat(subject, scores, lesion, valid)
            pixels.add(scores, None if valid is None else np.flatnonzero(valid))
            lesions.add(scores, np.flatnonzero(lesion if valid is None else lesion & valid))
        samples = [np.sort(ordered(sample.scores)) for sample in (pixels, lesions)]
        if not samples[0].size:
            return cls(np.zeros(1, np.int32), np.ones(1, bool))
        few = np.unique(np.concatenate([_quantiles(s, COARSE // 2 - 1) for s in samples]))
        many = np.unique(np.concatenate([few, *(_quantiles(s, (FINE - COARSE) // 2) for s in samples)]))
        return cls(many, np.isin(many, few, assume_unique=True))

    @property
    def n_fine(self) -> int:
        return self.edges.size + 1

    @cached_property
    def coarse_starts(self) -> NDArray[np.intp]:
        """(coarse bins,) the lowest fine bin of each."""
        return np.concatenate([[0], np.flatnonzero(self.is_coarse) + 1])

    @cached_property
    def is_open(self) -> NDArray[np.bool_]:
        """(fine bins,) false where a bin has room for a single value."""
        return _has_room(self.edges)

    @cached_property
    def is_open_coarse(self) -> NDArray[np.bool_]:
        """(coarse bins,) false where a bin has room for a single value."""
        return _has_room(self.edges[self.is_coarse])

    def range_of(self, bins: NDArray[np.intp]) -> tuple[int, int]:
        """Lowest and highest ordered integer that could lie in the fine bins."""
        bounds = [int(np.iinfo(np.int32).min), *self.edges.tolist(), int(np.iinfo(np.int32).max) + 1]
        return bounds[int(bins.min())], bounds[int(bins.max()) + 1] - 1

    def find(self, keys: Keys) -> NDArray[np.int16]:
        """The fine bin of each ordered integer."""
        first, shift, table = self._table
        slots = (np.clip(keys, first, self.edges[-1]).view(np.uint32) - first.view(np.uint32)) >> shift
        bins = table.take(slots, mode="clip")  # no slot is outside, but "raise" takes a buffer
        unsure = np.flatnonzero(bins < 0)
        bins[unsure] = np.searchsorted(self.edges, keys[unsure], side="right")
        return bins

    @cached_property
    def _table(self) -> tuple[np.int32, np.uint32, NDArray[np.int16]]:
        """Lowest key, bits to drop, and the bin of each slot of keys, -1 where an edge parts the slot."""
        first = np.int32(self.edges[0] - 1)
        offsets = self.edges.astype(np.int64) - int(first)
        shift = max(0, int(offsets[-1]).bit_length() - _TABLE)
        starts_slot = offsets & ((1 << shift) - 1) == 0
        table = np.zeros((int(offsets[-1]) >> shift) + 2, np.int16)
        np.add.at(table, (offsets >> shift) + ~starts_slot, 1)  # the first slot that lies wholly above the edge
        table = np.cumsum(table, dtype=np.int16)
        table[offsets[~starts_slot] >> shift] = -1
        return first, np.uint32(shift), table


def _has_room(edges: Keys) -> NDArray[np.bool_]:
    """Of each bin between edges, and below and above all, whether it may hold several values."""
    inner = np.diff(edges.astype(np.int64)) > 1
    return np.concatenate([[True], inner, [True]]) if edges.size else np.array([True])


class _Sample:
    """Scores of at most `_SAMPLE` places, even over all that are offered, each at random within its share."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._share = 1
        self._kept: list[NDArray[np.float32]] = []
        self._size = 0

    def add(self, scores: np.ndarray, places: NDArray[np.intp] | None) -> None:
        """Offer all scores of a map, or those at the places."""
        offered = scores.size if places is None else places.size
        starts = np.arange(0, offered, self._share)
        drawn = starts + (self._rng.integers(self._share, size=starts.size) if self._share > 1 else 0)
        drawn = drawn[drawn < offered]
        self._kept.append(scores[drawn if places is None else places[drawn]].astype(np.float32))
        self._size += drawn.size
        while self._size > _SAMPLE:
            pairs = self.scores[: self._size // 2 * 2].reshape(-1, 2)
            self._kept = [pairs[np.arange(len(pairs)), self._rng.integers(2, size=len(pairs))]]
            self._size, self._share = len(pairs), self._share * 2

    @property
    def scores(self) -> NDArray[np.float32]:
        return np.concatenate(self._kept) if self._kept else np.zeros(0, np.float32)


def _quantiles(keys: Keys, n: int) -> Keys:
    """At most n edges: order statistics of the ascending keys, and the end of each value that several of them share.

    Few values get a bin each.
    """
    values = np.unique(keys)
    if 2 * values.size <= n:
        return np.unique(np.concatenate([values, values + np.int32(1)]))
    values, times = np.unique(keys[np.linspace(0, keys.size - 1, n).astype(np.intp)], return_counts=True)
    return np.concatenate([values, values[times > 1] + np.int32(1)])
