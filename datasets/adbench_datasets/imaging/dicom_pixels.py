"""The pixels of one DICOM slice in HU or in the scanner's own units: rescaled as it says itself, padding as air.

Refused, since the values would be wrong in silence: a table in place of slope and intercept (Modality LUT), a slope of
0, and numbers that do not lie where the header says that their bits do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adbench_datasets.imaging.files import CaseError

AIR = {"MR": 0.0, "CT": -1000.0}
"""What padding becomes."""
RESCALE = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}
"""Tags, and what they are where they are not there."""
OVERLAY_BIT = 0x0102


def pixels_of(path: Path, data: Any, rows: int, columns: int) -> NDArray[np.float32]:
    """(rows, columns) of a file that pydicom has read. Raises CaseError."""
    if "ModalityLUTSequence" in data:
        raise CaseError(path, "its values come by a table (Modality LUT), which is not read. Convert it to NIfTI.")
    try:
        stored = np.asarray(data.pixel_array)
    except Exception as error:  # too short, or compressed in a way that is not known here
        raise CaseError(
            path, f"the pixels cannot be read ({error}). Convert the series to NIfTI, or fetch it again."
        ) from error
    if stored.shape != (rows, columns):
        raise CaseError(path, f"a slice of {columns} x {rows} pixels is needed, but the shape is {stored.shape}.")
    _check_bits(path, data)
    slope, intercept = (_number(path, data, tag, default) for tag, default in RESCALE.items())
    if slope == 0:
        raise CaseError(path, "RescaleSlope is 0: all pixels would be one value. Fetch it again.")
    values = (stored * slope + intercept).astype(np.float32)
    values[_padding(path, data, stored)] = AIR[data.Modality]
    return values


def _number(path: Path, data: Any, tag: str, default: float) -> float:
    value = data.get(tag, default)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise CaseError(path, f"{tag} must be one number, but is {value}. Fetch it again.") from error


def _check_bits(path: Path, data: Any) -> None:
    """Raise CaseError where bits beyond those that the header counts are set: pydicom drops them."""
    if "PixelData" not in data or data.file_meta.TransferSyntaxUID.is_compressed:
        return
    stored, allocated = int(data.BitsStored), int(data.BitsAllocated)
    if int(data.get("HighBit", stored - 1)) != stored - 1:
        raise CaseError(
            path, f"the highest of {stored} bits must be bit {stored - 1}, not {data.HighBit} (HighBit). Convert it."
        )
    if stored == allocated or _has_overlay(data):
        return
    order = "<" if data.file_meta.TransferSyntaxUID.is_little_endian else ">"
    kind = "i" if data.PixelRepresentation else "u"
    raw = np.frombuffer(data.PixelData, f"{order}{kind}{allocated // 8}")
    if raw.max() >= 1 << stored or raw.min() < -(1 << (stored - 1)):
        raise CaseError(
            path,
            f"pixels have {stored} bits (BitsStored), but run from {raw.min()} to {raw.max()}: the header is of other "
            "pixels. Convert it again.",
        )


def _has_overlay(data: Any) -> bool:
    """Whether one of the bits that pixels leave is said to draw something."""
    return any(tag.group >> 8 == 0x60 and tag.element == OVERLAY_BIT and data[tag].value for tag in data.keys())  # noqa: SIM118


def _padding(path: Path, data: Any, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pixels are none: those of PixelPaddingValue, or from it to PixelPaddingRangeLimit."""
    if data.get("PixelPaddingValue") is None:
        return np.zeros(stored.shape, bool)
    tags = ("PixelPaddingValue", "PixelPaddingRangeLimit" if "PixelPaddingRangeLimit" in data else "PixelPaddingValue")
    ends = [_as_stored(int(_number(path, data, tag, 0)), data) for tag in tags]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _as_stored(value: int, data: Any) -> int:
    """A number that was written as unsigned, of pixels that are signed: many scanners do so."""
    bits = int(data.BitsAllocated)
    return value - (1 << bits) if data.PixelRepresentation == 1 and value >= 1 << (bits - 1) else value
