"""CT as DICOM stores it, slope and intercept beside raw numbers, in NIfTI made of it: HU by pydicom, or refused."""

from __future__ import annotations

from pathlib import Path

import head_files
import numpy as np
import pydicom
import pytest
from adbench_datasets.folder import Folder, FolderConfig
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.imaging.preprocessing import prepare
from adbench_datasets.imaging.reading import read_case
from numpy.typing import NDArray
from pydicom.pixels import apply_modality_lut
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scan_files import edited, grid, nifti

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError

RESCALES = [(1, -1024), (1, -1000), (0.5, -1024), (2, 0), (1, -8192)]
"""Slope and intercept of scanners of several makers."""


def slices(hu: NDArray[np.float32], slope: float, intercept: float) -> list[pydicom.Dataset]:
    """Axial DICOM slices of a head (X, Y, Z) in HU, as a scanner stores them."""
    made = []
    for z in range(hu.shape[2]):
        stored = np.rint((hu[..., z].T - intercept) / slope).astype(np.int16)
        slice_ = pydicom.Dataset()
        slice_.file_meta = pydicom.dataset.FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.SOPClassUID, slice_.SOPInstanceUID, slice_.Modality = CTImageStorage, generate_uid(), "CT"
        slice_.set_pixel_data(stored, "MONOCHROME2", bits_stored=16)
        slice_.RescaleSlope, slice_.RescaleIntercept, slice_.RescaleType = slope, intercept, "HU"
        made.append(slice_)
    return made


def volume(hu: NDArray[np.float32], slope: float, intercept: float) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """What is stored (X, Y, Z), and the HU that pydicom makes of it."""
    made = slices(hu, slope, intercept)
    raw = np.stack([each.pixel_array.T for each in made], axis=-1)
    return raw, np.stack([apply_modality_lut(each.pixel_array, each).T for each in made], axis=-1)


def case_of(root: Path, data: bytes) -> Case:
    (root / "ct.nii").write_bytes(data)
    return Case("s1", FileRef(root / "ct.nii"), lesion_free=True)


@pytest.mark.parametrize(("slope", "intercept"), RESCALES)
def test_slope_and_intercept_kept_in_nifti_give_the_hu_of_pydicom(tmp_path, slope, intercept):
    raw, hu = volume(head_files.head(0, ct=True).image, slope, intercept)
    data = edited(nifti(raw, grid(head_files.SPACING)), scl_slope=slope, scl_inter=intercept)
    np.testing.assert_array_equal(read_case(case_of(tmp_path, data), tmp_path).image, hu.astype(np.float32))


@pytest.mark.parametrize(("slope", "intercept"), RESCALES)
def test_rescaled_and_kept_numbers_give_the_same_slices(tmp_path, slope, intercept):
    raw, hu = volume(head_files.head(0, ct=True).image, slope, intercept)
    kept = edited(nifti(raw, grid(head_files.SPACING)), scl_slope=slope, scl_inter=intercept)
    applied = nifti(hu.astype(np.float32), grid(head_files.SPACING)).to_bytes()
    config = FolderConfig(size=64)
    one, other = (prepare(read_case(case_of(tmp_path, d), tmp_path), config, "hu") for d in (kept, applied))
    np.testing.assert_array_equal(one.images, other.images)
    assert one.hashes == other.hashes


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (1, -1000), (1, -8192)])
def test_raw_numbers_without_their_intercept_are_refused(tmp_path, slope, intercept):
    raw, _ = volume(head_files.head(0, ct=True).image, slope, intercept)
    scan = read_case(case_of(tmp_path, nifti(raw, grid(head_files.SPACING)).to_bytes()), tmp_path)
    with pytest.raises(DataError, match=r"rescale (slope and )?intercept"):
        prepare(scan, FolderConfig(size=64), "hu")


def test_an_intercept_that_was_applied_twice_is_refused(tmp_path):
    _, hu = volume(head_files.head(0, ct=True).image, 1, -1024)
    data = edited(nifti(hu.astype(np.int16), grid(head_files.SPACING)), scl_slope=1, scl_inter=-1024)
    with pytest.raises(DataError, match="intercept"):
        prepare(read_case(case_of(tmp_path, data), tmp_path), FolderConfig(size=64), "hu")


def test_dicom_files_among_images_are_refused_and_named(tmp_path):
    folder = tmp_path / "test" / "images"
    head_files.write_nifti(folder / "a.nii.gz", head_files.head(0, ct=True).image)
    slices(head_files.head(0, ct=True).image, 1, -1024)[0].save_as(folder / "b.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match=r"b\.dcm is not: convert"):
        Folder(FolderConfig(modality="CT"), tmp_path, DataRuntime(workers=1)).cases(tmp_path)
