"""The curves of counts in bins: Dice, average precision and ROC, and how far the order inside a bin could move them.

All functions take counts from the highest bin down along the last axis; any axes before it are resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adbench.errors import ScoreError
from adbench.metrics.histogram import Counts, ScoreHistogram
from adbench.metrics.maps import Keys, Reread, ordered, pieces, value_of

_GATHERED = 1 << 22  # scores in memory at a time: 4 bytes each, and a label

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Pooled counts in bins of scores, from the highest bin down.

    Attributes:
        place: (C,) index of each bin in the histogram's bins; only those in use are kept.
        is_open: (C,) bool, whether a bin may hold several values.
        pos: (C,) lesion pixels.
        neg: (C,) other pixels.
    """

    place: NDArray[np.intp]
    is_open: NDArray[np.bool_]
    pos: Counts
    neg: Counts

    @classmethod
    def of(cls, hist: ScoreHistogram) -> Curve:
        pos, neg = hist.pooled()
        used = np.flatnonzero(pos + neg)[::-1]
        return cls(used, hist.bins.is_open[used], pos[used], neg[used])

    def dice(self) -> Floats:
        """(C,) Dice when all bins down to each are flagged: 2 TP / (P + TP + FP)."""
        tp = self.pos.cumsum()
        return 2 * tp / (self.pos.sum() + tp + self.neg.cumsum())

    def dice_bound(self) -> Floats:
        """(C,) largest Dice that a threshold inside each bin can reach: all its lesion pixels come first."""
        tp = self.pos.cumsum()
        bound = 2 * tp / (self.pos.sum() + tp + self.neg.cumsum() - self.neg)
        return np.where(self.is_open, bound, self.dice())

    def auprc(self) -> tuple[float, float]:
        """Average precision, and the bound on its error."""
        value, least, most = precisions(self.pos.cumsum(), self.neg.cumsum(), self.pos, self.neg, self.is_open)
        sums = np.array([value.sum(), least.sum(), most.sum()]) / self.pos.sum()
        return float(sums[0]), float(max(sums[0] - sums[1], sums[2] - sums[0]))

    def auroc(self) -> tuple[float, float]:
        """Area under the ROC curve with each bin a tie, and the bound on its error: half the pairs inside bins."""
        tp = self.pos.cumsum()
        pairs = float(tp[-1]) * float(self.neg.sum())  # the product of integers could pass 2**63
        value = float((self.neg * (tp - self.pos / 2)).sum() / pairs)
        return value, float(np.where(self.is_open, self.pos.astype(np.float64) * self.neg, 0).sum() / 2 / pairs)


def precisions(
    tp: Floats | Counts, fp: Floats | Counts, pos: Floats | Counts, neg: Floats | Counts, is_open: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """Sum of the precisions of each bin's lesion pixels: as if mixed evenly with the others, at worst and at best.

    At best all lesion pixels tie above the others. At worst the others come first and the lesion pixels follow one by
    one: the k-th has (TP + k) / (TP + k + FP), concave in k, so that the mean of the first and the last bounds it.
    Mixed evenly, the precision is taken in the middle. Where a bin holds one value, all three are that of the tie.
    """
    first, flagged = tp - pos + 1, np.maximum(tp + fp, 1)
    tied = tp / flagged
    middle = (tp - pos / 2) / np.maximum(tp + fp - (pos + neg) / 2, 0.5)
    least = (first / np.maximum(first + fp, 1) + tied) / 2
    most = tp / np.maximum(tp + fp - neg, 1)
    even, worst, best = (np.asarray(np.where(is_open, each, tied) * pos, float) for each in (middle, least, most))
    return even, np.minimum(worst, even), np.maximum(best, even)


def best_dice(curve: Curve, hist: ScoreHistogram, reread: Reread) -> tuple[float, float]:
    """⌈DICE⌉ and the highest threshold that reaches it, an observed score; both exact.

    The scores of those bins are read again that could hold the best threshold, some at a time, and put in order.

    Raises:
        ScoreError: the scores read again are not those that were counted.
    """
    dice, bound = curve.dice(), curve.dice_bound()
    single = np.flatnonzero(~curve.is_open)
    best = _highest(dice[single], hist.bins.edges[curve.place[single] - 1])
    left = np.flatnonzero(curve.is_open & (bound >= dice.max()))
    left = left[np.argsort(-bound[left], kind="stable")]
    while left.size:
        n = max(1, int(np.searchsorted((curve.pos + curve.neg)[left].cumsum(), _GATHERED, side="right")))
        best = max(best, _highest(*_dice_inside(curve, hist, np.sort(left[:n]), reread)))
        left = left[n:]
        left = left[bound[left] >= best[0]]
    return best[0], float(value_of(np.array(best[1])))


def _highest(dice: Floats, keys: Keys) -> tuple[float, int]:
    """The largest Dice, and the highest of the scores that reach it."""
    return (float(dice.max()), int(keys[dice == dice.max()].max())) if dice.size else (-1.0, 0)


def _dice_inside(curve: Curve, hist: ScoreHistogram, which: NDArray[np.intp], reread: Reread) -> tuple[Floats, Keys]:
    """Dice at each score in the bins `which`, ascending in the curve, and these scores as ordered integers."""
    keys, is_lesion, _ = gather(hist, curve.place[which], reread)
    order = np.argsort(-keys.astype(np.int64), kind="stable")
    keys, is_lesion = keys[order], is_lesion[order]
    sizes = (curve.pos + curve.neg)[which]
    tp_above, fp_above = (  # of each gathered score: what lies above its bin, less what is gathered of that
        np.repeat((n.cumsum() - n)[which] - (n[which].cumsum() - n[which]), sizes) for n in (curve.pos, curve.neg)
    )
    tp, fp = tp_above + is_lesion.cumsum(), fp_above + (~is_lesion).cumsum()
    last = np.append(keys[1:] != keys[:-1], True)  # of equal scores, which stand or fall together
    return (2 * tp / (curve.pos.sum() + tp + fp))[last], keys[last]


def gather(
    hist: ScoreHistogram, bins: NDArray[np.intp], reread: Reread
) -> tuple[Keys, NDArray[np.bool_], NDArray[np.intp]]:
    """Ordered integers, labels and index of the subject (in sorted order) of all pixels in some fine bins.

    Raises:
        ScoreError: the scores read again are not those that were counted.
    """
    wanted = np.zeros(hist.bins.n_fine, bool)
    wanted[bins] = True
    low, high = hist.bins.range_of(bins)
    index = {subject: i for i, subject in enumerate(hist.subjects)}
    keys: list[Keys] = [np.zeros(0, np.int32)]
    labels: list[NDArray[np.bool_]] = [np.zeros(0, bool)]
    subjects: list[NDArray[np.intp]] = [np.zeros(0, np.intp)]
    checksum = 0
    for maps in reread():
        for chunk, is_lesion in pieces(*maps):
            integers = ordered(chunk)
            checksum += int(integers.sum(dtype=np.int64))
            near = np.flatnonzero((integers >= low) & (integers <= high))
            near = near[wanted[hist.bins.find(integers[near])]]
            keys.append(integers[near])
            labels.append(is_lesion[near])
            subjects.append(np.full(keys[-1].size, index.get(maps[0], -1)))
    pos_again, all_again = sum(int(each.sum()) for each in labels), sum(each.size for each in keys)
    pos, neg = (int(counts[bins].sum()) for counts in hist.pooled())
    if (checksum, pos_again, all_again) != (hist.checksum, pos, pos + neg):
        raise ScoreError(
            "Scores and labels read again must equal those counted before, or metrics would mix two score maps, but "
            "they do not. Keep the first score maps."
        )
    return np.concatenate(keys), np.concatenate(labels), np.concatenate(subjects)
