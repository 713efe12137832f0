"""A few test slices that every record shows, chosen by their truth alone, so that all methods show the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adbench.contracts.splits import Split
from adbench.protocol.halves import places, spread
from adbench.protocol.protocol import MeasurementProtocol
from adbench.protocol.scoring import ScoreMaps, measured_pixels
from adbench.results.pictures import Picture

SLICES = 6


def shown(subjects: list[str], anomalous: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Up to `SLICES` places in the split, ascending: slices with lesions that count, spread over their subjects."""
    among = np.flatnonzero(anomalous)
    names = list(dict.fromkeys(subjects[i] for i in among))
    kept = {names[k] for k in spread(len(names), min(SLICES, len(names)))}
    among = among[[subjects[i] in kept for i in among]]
    return among[places([subjects[i] for i in among], SLICES)]


def picture(
    test: Split, scores: ScoreMaps, anomalous: NDArray[np.bool_], protocol: MeasurementProtocol
) -> Picture | None:
    """The picture of the shown slices of a test set; None where it has no lesion that counts."""
    which = shown(list(test.subjects), anomalous)
    if not which.size:
        return None
    chosen = test.take(which)
    truth = list(measured_pixels(chosen, protocol))
    lesions = np.stack([lesion[0] for _, lesion, _ in truth])
    counted = np.stack([np.ones(lesion.shape[1:], bool) if valid is None else valid[0] for _, lesion, valid in truth])
    return Picture.of(chosen.images[:, 0], lesions, counted, scores.at(list(which))[:, 0], chosen.subjects)
