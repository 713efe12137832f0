"""Damaged DICOM files are refused by name: none vanishes from its series, and none ends in a traceback."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from adbench_datasets.imaging.dicom import find_series, read_series
from adbench_datasets.imaging.files import CaseError
from dicom_files import write_series
from heads import affine, head
from pydicom.uid import BasicTextSRStorage


def series(folder: Path) -> list[Path]:
    return sorted(write_series(folder, head(1), affine()).iterdir())


def last(files: list[Path]) -> Path:
    """The top slice, which no gap would give away."""
    return max(files, key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))


@pytest.mark.parametrize("size", [200, 400, 600, 756])
def test_a_slice_at_the_end_that_is_cut_short_is_named(tmp_path, size):
    files = series(tmp_path / "s")
    cut = last(files)
    cut.write_bytes(cut.read_bytes()[:size])
    with pytest.raises(CaseError, match="cut short") as error:
        find_series(files)
    assert cut.name in str(error.value)


@pytest.mark.parametrize("instead", [b"x.0\\0.0\\0.0\\0.0\\1.0\\0.0", b"1.0\\0.0\\0.0\\0.0\\1.0\\0.x"])
def test_a_number_that_is_none_is_named(tmp_path, instead):
    files = series(tmp_path / "s")
    written = b"1.0\\0.0\\0.0\\0.0\\1.0\\0.0"  # the orientation
    assert written in files[0].read_bytes()
    files[0].write_bytes(files[0].read_bytes().replace(written, instead))
    with pytest.raises(CaseError, match="value in its header that cannot be read"):
        find_series(files)


def test_a_position_of_two_numbers_is_named(tmp_path):
    def change(k, data):
        if k == 1:
            data.ImagePositionPatient = [0.0, 0.0]

    files = sorted(write_series(tmp_path / "s", head(1), affine(), change).iterdir())
    (found,) = find_series(files)
    with pytest.raises(CaseError, match="value in its header that cannot be read"):
        read_series(found)


def test_a_report_beside_a_series_is_no_image_and_no_damage(tmp_path):
    files = series(tmp_path / "s")
    report = pydicom.dcmread(files[0])
    del report.Rows, report.Columns, report.PixelData
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = BasicTextSRStorage
    report.save_as(tmp_path / "report", enforce_file_format=True)
    (found,) = find_series([*files, tmp_path / "report"])
    assert len(found.files) == len(files)
