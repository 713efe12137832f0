"""Whether files of a DICOM series are missing that no gap between positions shows: at its ends, or every second one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TAGS = ("InstanceNumber", "ImagesInAcquisition", "NumberOfSlices")


def lacking(headers: Sequence[Any]) -> str | None:
    """Say what the headers of all files of one UID tell of files that are not there; None where they tell nothing.

    It may be wrong: some scanners number on from another series, or count the images of several.
    """
    numbers = {number for header in headers if (number := _whole(header, "InstanceNumber")) is not None}
    if len(numbers) == len(headers) < max(numbers):
        return f"slices may be missing: files of the series are numbered up to {max(numbers)}, there are {len(headers)}"
    said = max((_whole(header, tag) or 0 for header in headers for tag in TAGS[1:]), default=0)
    if said > len(headers):
        return f"slices may be missing: files of the series say that there are {said} images, there are {len(headers)}"
    return None


def _whole(header: Any, tag: str) -> int | None:
    try:
        return int(header.get(tag))
    except (ValueError, TypeError, OverflowError):
        return None
