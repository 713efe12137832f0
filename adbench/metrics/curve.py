"""The curves of pooled counts: Dice, average precision and ROC, and the bounds on their binning error.

What the order of the scores inside a bin could change is the binning error. It shrinks when the scores can be read a
second time, as the bins that matter are then split further, for ⌈DICE⌉ until it is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from adbench.errors import ScoreError
from adbench.metrics.histogram import BINS, Counts, Reread, ScoreHistogram, chunks, ordered, value_of

_CELLS = 1 << 18  # cells of one re-reading: two int64 counts each, 4 MB
_LUT = 1 << 20  # widest span of cells found by table instead of by bisection
_TOLERANCE = 2e-4  # bins are split for AUPRC and AUROC until the others can add no more error than this


@dataclass(frozen=True)
class Curve:
    """Pooled counts in cells of scores, from the highest score down.

    Attributes:
        low: (C,) ordered integer of the lowest score in each cell (see `ordered`).
        bits: (C,) low bits of that integer not yet looked at; 0 means that the cell holds one score.
        pos: (C,) lesion pixels.
        neg: (C,) other pixels.
    """

    low: Counts
    bits: Counts
    pos: Counts
    neg: Counts

    @classmethod
    def of(cls, hist: ScoreHistogram) -> Curve:
        pos, neg = hist.pooled()
        used = np.flatnonzero(pos + neg)[::-1]
        return cls((used - BINS // 2) << 16, np.full(used.size, 16), pos[used], neg[used])

    def best_dice(self) -> tuple[float, float, float]:
        """Largest Dice at the edge of a cell, its threshold, and how much larger it could be inside one."""
        dice = self.dice()
        best = int(dice.argmax())
        return float(dice[best]), float(value_of(self.low[best])), float(self.dice_bound().max() - dice[best])

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


def split_while_useful(curve: Curve, reread: Reread) -> Curve:
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


def _split(curve: Curve, chosen: NDArray[np.intp], reread: Reread) -> Curve:
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
    return Curve(
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
        for chunk, is_lesion in chunks(*maps):
            keys = ordered(chunk)
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
