"""Damaged DICOM files are named: none vanishes from its series, none ends in a traceback, and other series go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from adbench_datasets.imaging.dicom import find_series, read_series
from adbench_datasets.imaging.dicom_search import dicom_among
from adbench_datasets.imaging.files import CaseError
from dicom_files import write_series
from heads import affine, head
from pydicom.uid import BasicTextSRStorage


def series(folder: Path, uid: str = "1.2.3") -> list[Path]:
    return sorted(write_series(folder, head(1), affine(), uid=uid).iterdir())


def last(files: list[Path]) -> Path:
    """The top slice, which no gap would give away."""
    return max(files, key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))


def found_in(folder: Path) -> list[Any]:
    return find_series(dicom_among(sorted(path for path in folder.rglob("*") if path.is_file())))


@pytest.mark.parametrize("size", [0, 100, 200, 400, 600, 756])
def test_a_slice_at_the_end_that_is_cut_short_is_the_fault_of_its_series_alone(tmp_path, size):
    cut = last(series(tmp_path / "s"))
    cut.write_bytes(cut.read_bytes()[:size])
    series(tmp_path / "t", uid="1.2.4")
    broken, whole = found_in(tmp_path)
    assert (len(broken.files), len(whole.files)) == (9, 10)
    with pytest.raises(CaseError, match="would lack a slice") as error:
        read_series(broken)
    assert error.value.file == str(cut)
    assert "with a damaged file" in broken.told
    assert read_series(whole).values.shape == head(1).shape


def test_a_slice_that_was_overwritten_is_the_fault_of_its_series(tmp_path):
    cut = last(series(tmp_path))
    cut.write_bytes(b"\0" * cut.stat().st_size)
    (broken,) = found_in(tmp_path)
    with pytest.raises(CaseError, match="would lack a slice") as error:
        read_series(broken)
    assert error.value.file == str(cut)


def test_a_damaged_file_that_says_its_series_spoils_that_one_alone(tmp_path):
    """It is known by its UID, though both lie in one folder; a file without one spoils both."""
    cut = last(series(tmp_path / "s"))
    for path in series(tmp_path / "t", uid="1.2.4"):
        path.rename(tmp_path / "s" / f"other-{path.name}")
    whole = cut.read_bytes()
    cut.write_bytes(whole[: whole.index(b"MONOCHROME2") - 30])  # behind the UID, before the size
    assert [each.uid for each in found_in(tmp_path) if each.fault] == ["1.2.3"]
    cut.write_bytes(whole[:200])
    assert [each.uid for each in found_in(tmp_path) if each.fault] == ["1.2.3", "1.2.4"]


def test_damaged_files_of_which_no_series_is_there_are_one_fault_a_folder(tmp_path):
    for folder in ("s", "t"):
        for path in series(tmp_path / folder):
            path.write_bytes(path.read_bytes()[:300])
    found = found_in(tmp_path)
    assert [len(each.files) for each in found] == [10, 10]
    for each in found:
        with pytest.raises(CaseError, match="cut short") as error:
            read_series(each)
        assert error.value.file == str(each.files[0])


ORIENTATION = b"1.0\\0.0\\0.0\\0.0\\1.0\\0.0"


@pytest.mark.parametrize("instead", [b"x.0\\0.0\\0.0\\0.0\\1.0\\0.0", b"1.0\\0.0\\0.0\\0.0\\1.0\\0.x", b" " * 23])
def test_a_number_that_is_none_is_named(tmp_path, instead):
    files = series(tmp_path)
    assert ORIENTATION in files[0].read_bytes()
    files[0].write_bytes(files[0].read_bytes().replace(ORIENTATION, instead))
    for each in find_series(files):
        with pytest.raises(CaseError, match=r"header that cannot be read|must say where it lies|must lie evenly"):
            read_series(each)


@pytest.mark.parametrize(
    ("tag", "numbers"), [("ImagePositionPatient", [0.0, 0.0]), ("ImageOrientationPatient", [1.0, 0.0, 0.0, 0.0, 1.0])]
)
def test_numbers_that_are_too_few_are_named(tag, numbers, tmp_path):
    def change(k, data):
        if k == 1:
            setattr(data, tag, numbers)

    files = sorted(write_series(tmp_path / "s", head(1), affine(), change).iterdir())
    (found,) = find_series(files)
    with pytest.raises(CaseError, match=f"{tag} has {len(numbers)} numbers"):
        read_series(found)


def test_an_image_without_its_width_is_named(tmp_path):
    files = series(tmp_path)
    data = pydicom.dcmread(files[0])
    del data.Columns
    data.save_as(files[0])
    (found,) = find_series(files)
    with pytest.raises(CaseError, match="cut short"):
        read_series(found)


def test_a_report_beside_a_series_is_no_image_and_no_damage(tmp_path):
    files = series(tmp_path / "s")
    report = pydicom.dcmread(files[0])
    del report.Rows, report.Columns, report.PixelData
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = BasicTextSRStorage
    report.save_as(tmp_path / "report", enforce_file_format=True)
    (found,) = find_series([*files, tmp_path / "report"])
    assert len(found.files) == len(files)
    assert found.fault is None


def test_what_lies_beside_a_series_and_ends_otherwise_is_no_damage(tmp_path):
    for path in series(tmp_path):
        path.rename(path.with_suffix(".dcm"))
    (tmp_path / "notes.txt").write_text("of this series", encoding="utf-8")
    (tmp_path / "README").write_text("of this series", encoding="utf-8")
    (found,) = found_in(tmp_path)
    assert (len(found.files), found.fault) == (10, None)
