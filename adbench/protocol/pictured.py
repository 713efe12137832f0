"""A few test slices that every record shows, chosen by their truth alone, so that all methods show the same.

After them come the slices with the largest lesion of the subjects that the method finds best, halfway and worst.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from adbench.contracts.splits import Split
from adbench.protocol.halves import middles, places
from adbench.protocol.protocol import MeasurementProtocol
from adbench.protocol.scoring import ScoreMaps, measured_pixels
from adbench.results.pictures import MARKS, Picture

SLICES = 6


def shown(subjects: list[str], anomalous: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Up to `SLICES` places in the split, ascending: slices with lesions that count, even over their subjects."""
    among = np.flatnonzero(anomalous)
    names = list(dict.fromkeys(subjects[i] for i in among))
    kept = {names[k] for k in middles(len(names), min(SLICES, len(names)))}
    among = among[[subjects[i] in kept for i in among]]
    return among[places([subjects[i] for i in among], SLICES)]


def own(subjects: list[str], lesion_px: NDArray[np.intp], auprc: Mapping[str, float]) -> list[int]:
    """The places of the slices of `MARKS`; none where fewer than three subjects have an AUPRC.

    Of an even number, the better of the two in the middle is halfway. `lesion_px`: (N,) lesion pixels that count.
    """
    order = sorted(auprc, key=lambda subject: (-auprc[subject], subject))
    if len(order) < len(MARKS):
        return []
    chosen = order[0], order[(len(order) - 1) // 2], order[-1]
    names = np.array(subjects)
    return [int(np.argmax(np.where(names == subject, lesion_px, -1))) for subject in chosen]


def picture(
    test: Split,
    scores: ScoreMaps,
    lesion_px: NDArray[np.intp],
    auprc: Mapping[str, float],
    protocol: MeasurementProtocol,
) -> Picture | None:
    """The picture of the shown slices of a test set; None where it has no lesion that counts.

    `lesion_px`: (N,) lesion pixels that count, 0 where no mask does; `auprc`: of each subject with lesions.
    """
    which = list(shown(list(test.subjects), lesion_px > 0))
    if not which:
        return None
    of_method = own(list(test.subjects), lesion_px, auprc)
    which += of_method
    chosen = test.take(np.array(which))
    truth = list(measured_pixels(chosen, protocol))
    lesions = np.stack([lesion[0] for _, lesion, _ in truth])
    counted = np.stack([np.ones(lesion.shape[1:], bool) if valid is None else valid[0] for _, lesion, valid in truth])
    maps = _maps(scores, which)
    return Picture.of(chosen.images[:, 0], lesions, counted, maps, chosen.subjects, MARKS[: len(of_method)])


def _maps(scores: ScoreMaps, which: list[int]) -> NDArray[np.float32]:
    """The maps (n, H, W) of these images, in their order."""
    places = sorted(set(which))
    maps = scores.at(places)[:, 0]
    return maps[[places.index(i) for i in which]]
