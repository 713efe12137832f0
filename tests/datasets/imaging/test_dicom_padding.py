"""Padding of DICOM slices, which is no measurement, becomes air whatever number it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from adbench_datasets.imaging.dicom import find_series, read_series
from adbench_datasets.imaging.dicom_pixels import AIR
from dicom_files import Change, write_series
from heads import affine, head

CORNER = np.s_[:6, :8]


def padded(number: int, modality: str = "MR", said: int | None = None, limit: int | None = None) -> Change:
    """Fill a corner of each slice with a number that the header says is padding."""

    def change(k: int, data: Any) -> None:
        stored = np.frombuffer(data.PixelData, "<i2").reshape(data.Rows, data.Columns).copy()
        stored[CORNER] = number
        data.PixelData = stored.tobytes()
        data.Modality = modality
        data.add_new("PixelPaddingValue", "SS" if (said or number) < 0 else "US", number if said is None else said)
        if limit is not None:
            data.add_new("PixelPaddingRangeLimit", "SS" if limit < 0 else "US", limit)

    return change


def read(folder, change: Change | None) -> np.ndarray:
    """(columns, rows, slices)."""
    write_series(folder, head(1), affine(), change)
    (series,) = find_series(sorted(folder.iterdir()))
    return np.asarray(read_series(series).values)


@pytest.mark.parametrize(
    ("change", "modality"),
    [
        (padded(-2000), "MR"),
        (padded(-2000, "CT"), "CT"),
        (padded(32000), "MR"),
        (padded(-2000, said=65536 - 2000), "MR"),  # written as unsigned, as many scanners do
        (padded(-1990, said=-2000, limit=-1980), "MR"),
        (padded(-1990, "CT", said=-1980, limit=-2000), "CT"),
    ],
    ids=["MR", "CT", "bright", "as unsigned", "range", "range downwards"],
)
def test_padding_becomes_air_and_all_else_stays(tmp_path, change, modality):
    plain, found = read(tmp_path / "plain", None), read(tmp_path / "padded", change)
    corner = np.zeros(plain.shape[:2], bool).T
    corner[CORNER] = True
    assert (found[corner.T] == AIR[modality]).all()
    np.testing.assert_array_equal(found[~corner.T], plain[~corner.T])


def test_what_no_header_calls_padding_is_read_as_it_is(tmp_path):
    def change(k: int, data: Any) -> None:
        padded(-2000)(k, data)
        del data.PixelPaddingValue

    assert read(tmp_path / "s", change).min() <= -990
