"""Lesions by size: lesion recall and sensitivity at each operating point, among small and among large ones.

Read them beside the false components of the same point: neither counts what is flagged elsewhere.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence
from adbench.metrics.flagged import EDGES
from adbench.metrics.intervals import ratio, resample_weights
from adbench.metrics.points import POINTS

_LESIONS, _FOUND, _PIXELS, _FLAGGED = range(4)


class Stratum(BaseModel):
    """The lesions of one range of sizes: connected lesion pixels of a slice, by their share of the image's pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    from_fraction: float
    to_fraction: float | None
    """The range is from <= share < to; None where it has no upper end."""
    lesions: int
    pixels: int
    lesion_recall: dict[str, Estimate]
    """Operating point -> fraction of the lesions of which at least a tenth is flagged there."""
    sensitivity: dict[str, Estimate]
    """Operating point -> fraction of their pixels that are flagged there."""


STRATUM_FRACTIONS = ("lesion_recall", "sensitivity")
"""Fields of a stratum with a fraction at each operating point."""


def strata(of: Evidence) -> list[Stratum]:
    """One entry a range, smallest lesions first; points that healthy images do not support are left out."""
    subjects = sorted(of.flagged.lesions)
    weights = resample_weights(subjects, of.resamples)
    lesions = np.stack([of.flagged.lesions[subject] for subject in subjects])  # (subjects, thresholds, ranges, 4)
    at_points = {
        point.key: lesions[:, of.index(point.rate)] for point in POINTS if not point.missing(of.thresholds[point.rate])
    }
    counts = lesions[:, 0]  # alike at all thresholds
    return [
        Stratum(
            from_fraction=low,
            to_fraction=high,
            lesions=int(counts[:, i, _LESIONS].sum()),
            pixels=int(counts[:, i, _PIXELS].sum()),
            lesion_recall={key: ratio(at[:, i, _FOUND], at[:, i, _LESIONS], weights) for key, at in at_points.items()},
            sensitivity={key: ratio(at[:, i, _FLAGGED], at[:, i, _PIXELS], weights) for key, at in at_points.items()},
        )
        for i, (low, high) in enumerate(zip((0.0, *EDGES), (*EDGES, None), strict=True))
    ]
