"""Time points of a DICOM series: parted where the same places were taken several times, and nowhere else.

In many acquisitions each slice has a time of its own, so that a time by itself parts nothing. Where places repeat, time
points are told apart by the time of trigger or of acquisition, if that is clear: the points have the same times at all
places, or the last slice of one is older than the first of the next. Otherwise they stay together, and such a series is
refused when it is read, since slices lie at one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

PLACES = 2
"""Digits of a position in mm that make one place."""


def time_points(headers: Sequence[Any]) -> list[list[int]]:
    """Part the headers of a series into time points, each the indices of its slices; one where places do not repeat."""
    together = [list(range(len(headers)))]
    places: dict[tuple[float, ...], list[int]] = {}
    for i, header in enumerate(headers):
        position = header.get("ImagePositionPatient")
        if not position:
            return together
        places.setdefault(tuple(round(float(mm), PLACES) + 0.0 for mm in position), []).append(i)
    if len(places) == len(headers) or len({len(here) for here in places.values()}) > 1:
        return together
    for time in (_trigger_time, _acquisition_time):
        if points := _by_time(list(places.values()), headers, time):
            return points
    return together


def _by_time(
    places: Sequence[Sequence[int]], headers: Sequence[Any], time: Callable[[Any], Any]
) -> list[list[int]] | None:
    """The first of each place in time, the second, and so on; None where that is not clear."""
    times = [time(header) for header in headers]
    if None in times:
        return None
    ordered = [sorted(here, key=times.__getitem__) for here in places]
    points = [list(point) for point in zip(*ordered, strict=True)]
    spans = [sorted(times[i] for i in point) for point in points]
    alike = all(span[0] == span[-1] for span in spans) and len({span[0] for span in spans}) == len(spans)
    if alike or all(before[-1] < after[0] for before, after in pairwise(spans)):
        return points
    return None


def _trigger_time(header: Any) -> float | None:
    """In ms after the R wave, say."""
    value = header.get("TriggerTime")
    return value if isinstance(value, float) else None


def _acquisition_time(header: Any) -> str | None:
    """Date and time as text of fixed width, which sorts as time does."""
    value = header.get("AcquisitionTime")
    return f"{header.get('AcquisitionDate') or ''}{value}" if value else None
