"""Acquisitions of a DICOM series: numbers that part it where they are volumes, and not where they are parts of one.

Scanners number what they take: a volume, or each rotation of a gantry, each slice, or one of several interleaved
packages of slices. Only the places tell which. Acquisitions that share a place are volumes of their own, and so are
those whose slices alternate closer than they are thick; others are one volume, which is refused if it has gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

CLOSER = 0.95
"""Slices are closer than they are thick where they lie apart by less than this fraction."""
SAME_MM = 0.01


def acquisitions(headers: Sequence[Any]) -> list[list[int]]:
    """Part the headers of one orientation into acquisitions, each the indices of its slices."""
    numbers = [str(header.get("AcquisitionNumber")) for header in headers]
    by_number = {number: [i for i, own in enumerate(numbers) if own == number] for number in numbers}
    return [list(range(len(headers)))] if _one_volume(headers, numbers) else list(by_number.values())


def _one_volume(headers: Sequence[Any], numbers: Sequence[str]) -> bool:
    taken = len(set(numbers))
    if taken == 1:
        return True
    if not all(header.get("ImagePositionPatient") and header.get("ImageOrientationPatient") for header in headers):
        return False
    along = np.asarray(headers[0].ImageOrientationPatient, np.float64)
    heights = np.array([header.ImagePositionPatient for header in headers], np.float64) @ np.cross(along[:3], along[3:])
    order = np.argsort(heights, kind="stable")
    apart = float(np.diff(heights[order]).min())
    if sum(numbers[i] != numbers[j] for i, j in pairwise(order)) == taken - 1:
        return apart > SAME_MM  # one after the other
    thickness = float(headers[0].get("SliceThickness") or 0)
    return 0 < CLOSER * thickness <= apart
