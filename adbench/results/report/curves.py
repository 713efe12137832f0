"""ROC and precision-recall curves from the counts beside records, FROC curves and lesions by size from records."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adbench.metrics.curve import Curve
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.strata import STRATUM_FRACTIONS
from adbench.results import formats
from adbench.results.record import Record
from adbench.results.report.chart import rounded
from adbench.results.report.limits import CURVE_POINTS

Points = list[dict[str, Any]]
DIGITS = 4


def pixel_curves(label: str, hist: ScoreHistogram) -> tuple[Points, Points]:
    """ROC and precision-recall of all pixels pooled, each bin one point, thinned; empty where one class is missing.

    ROC points have x (false positive rate) and y (true positive rate); the others x (recall) and y (precision).
    """
    if not hist.positives or not hist.negatives:
        return [], []
    curve = Curve.of(hist)
    tp, fp = curve.pos.cumsum(), curve.neg.cumsum()
    recall, rate, precision = tp / tp[-1], fp / fp[-1], tp / (tp + fp)
    roc = _thinned(np.concatenate([[[0.0, 0.0]], np.stack([rate, recall], axis=1)]))
    return _points(label, roc), _points(label, _thinned(np.stack([recall, precision], axis=1)))


def _thinned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most `CURVE_POINTS` of the points (n, 2), evenly along the curve; the first and the last are among them."""
    along = np.concatenate([[0.0], np.abs(np.diff(points, axis=0)).sum(axis=1).cumsum()])
    wanted = np.linspace(0, along[-1], CURVE_POINTS)
    return points[np.unique(np.append(np.searchsorted(along, wanted).clip(max=len(points) - 1), len(points) - 1))]


def _points(label: str, points: NDArray[np.float64]) -> Points:
    return [{"method": label, "x": round(float(x), DIGITS), "y": round(float(y), DIGITS)} for x, y in points]


def froc(label: str, record: Record) -> Points:
    """Lesion recall (y) by false components a slice (x), in order of the rates that were measured."""
    kept = record.measurement.froc if record.measurement else []
    return [
        {
            "method": label,
            "x": round(point.false_components, DIGITS),
            "y": round(point.lesion_recall, DIGITS),
            "rate": point.rate,
        }
        for point in sorted(kept, key=lambda point: point.rate)
        if point.lesion_recall is not None
    ]


def sizes(label: str, record: Record) -> Points:
    """Lesion recall and sensitivity by size of lesion, with intervals, at each operating point."""
    points: Points = []
    for stratum in record.measurement.strata if record.measurement else []:
        size = formats.size_range(stratum.from_fraction, stratum.to_fraction)
        for key in stratum.lesion_recall:
            for name in STRATUM_FRACTIONS:
                estimate = getattr(stratum, name)[key]
                if estimate.value is None:
                    continue
                values = {end: rounded(getattr(estimate, end)) for end in ("value", "low", "high")}
                place = {"size": f"{size} ({stratum.lesions})", "from": stratum.from_fraction}
                points.append({"method": label, "point": key, "measure": name, **place, **values})
    return points
