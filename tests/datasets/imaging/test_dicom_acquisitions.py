"""Numbers of acquisitions part a DICOM series where they are volumes, and not where they are parts of one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from adbench_datasets.imaging.dicom import Series, find_series, read_series
from adbench_datasets.imaging.files import CaseError
from dicom_files import write_series
from heads import affine, head
from pydicom import dcmread


def numbered(number: Any, up_mm: float = 0.0) -> Any:
    def change(k: int, data: Any) -> None:
        data.AcquisitionNumber = number(k) if callable(number) else number
        data.ImagePositionPatient[2] += up_mm

    return change


def found_in(folder: Any, *changes: Any) -> list[Series]:
    """Series among volumes of other values, each changed in its own way."""
    for seed, change in enumerate(changes):
        write_series(folder / str(seed), head(seed), affine(), change)
    return find_series(sorted(path for path in folder.rglob("*") if path.is_file()))


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(lambda k: k + 1, id="one for each slice"),
        pytest.param(lambda k: k // 4 + 1, id="one for each rotation of a gantry"),
        pytest.param(lambda k: k % 2 + 1, id="one for each of two interleaved packages"),
        pytest.param(lambda k: None if k == 3 else 1, id="missing in one slice"),
    ],
)
def test_acquisitions_that_are_parts_of_a_volume_part_nothing(number, tmp_path):
    (series,) = found_in(tmp_path, numbered(number))
    np.testing.assert_array_equal(np.asarray(read_series(series).values)[::-1, ::-1], head(0))


@pytest.mark.parametrize("up_mm", [0.0, 4.0, 1.3])
def test_acquisitions_that_are_volumes_are_series_of_their_own(up_mm, tmp_path):
    found = found_in(tmp_path, numbered(1), numbered(2, up_mm))
    for seed, series in enumerate(found):
        np.testing.assert_array_equal(np.asarray(read_series(series).values)[::-1, ::-1], head(seed))
    assert len(found) == 2


def height(path: Any) -> float:
    return float(dcmread(path).ImagePositionPatient[2])


def test_parts_of_a_volume_with_a_gap_are_refused(tmp_path):
    write_series(tmp_path, head(0), affine(), numbered(lambda k: k + 1))
    lost = sorted(tmp_path.iterdir(), key=height)[4]
    lost.unlink()
    (series,) = find_series(sorted(tmp_path.iterdir()))
    with pytest.raises(CaseError, match="slices must lie evenly"):
        read_series(series)


def test_a_number_that_is_none_is_a_fault_of_its_series_alone(tmp_path):
    def wrong(k: int, data: Any) -> None:
        data.add_new("AcquisitionNumber", "LO", "abc")
        data.SeriesInstanceUID = "1.2.9"

    faults = [series.fault is not None for series in found_in(tmp_path, numbered(1), wrong)]
    assert sorted(faults) == [False, True]
