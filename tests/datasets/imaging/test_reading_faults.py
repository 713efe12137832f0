"""Faulty files: each gives one error that names the file, the rule and the value."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from adbench_datasets.imaging import files
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.imaging.reading import CaseError, read_case
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_files import SHAPE, edited, healthy, nifti, volume, write

HUGE = edited(nifti(volume()), dim=[3, 30000, 20000, 90, 1, 1, 1, 1])  # 108 GB of int16
LARGE = edited(nifti(volume()), dim=[3, 400, 400, 400, 1, 1, 1, 1])  # within the limit, but not in so small a file


def with_nan(count: int) -> nib.Nifti1Image:
    array = volume().astype("f4")
    array.ravel()[:count] = np.nan
    return nifti(array)


def nifti_bytes(array: Any, **options: Any) -> bytes:
    return bytes(nifti(array, **options).to_bytes())


def header_only(**fields: Any) -> bytes:
    return edited(nifti(volume()), **fields)


QFORM_ONLY = {"sform_code": 0, "qform_code": 1}
FAULTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "text": (b"<html>404 Not Found</html>" * 40, "is not a NIfTI file"),
    "too short for a header": (b"\x5c\x01", "is not a NIfTI file"),
    "Analyze": (edited(nifti(volume()), magic=b""), "is not a NIfTI file"),
    "pair": (edited(nifti(volume()), magic=b"ni1"), ".hdr/.img pair"),
    "cut short": (nifti_bytes(volume())[:-1], "the file can hold 771 at most"),
    "gzip cut short": (gzip.compress(nifti_bytes(volume()))[:-200], "is damaged or cut short"),
    "gzip without its checksum": (gzip.compress(nifti_bytes(volume()))[:-8], "is damaged or cut short"),
    "gzip with another checksum": (gzip.compress(nifti_bytes(volume()))[:-8] + bytes(8), "CRC check failed"),
    "gzip of a file cut short": (gzip.compress(nifti_bytes(volume())[:-2]), "is damaged or cut short"),
    "huge": (HUGE, "takes 216000000000 bytes, more than the limit of 1073741824"),
    "huge in gzip": (gzip.compress(HUGE), "takes 216000000000 bytes, more than the limit of 1073741824"),
    "large in a small file": (LARGE, "needs 128000352 bytes, but the file can hold 772 at most"),
    "large in a small gzip": (gzip.compress(LARGE), "needs 128000352 bytes"),
    "several volumes": (nifti_bytes(volume((4, 4, 4, 3))), "one volume is needed, but shape (4, 4, 4, 3) has 3"),
    "one axis": (header_only(dim=[1, 210, 1, 1, 1, 1, 1, 1]), "a volume or a slice is needed"),
    "negative axis": (header_only(dim=[3, 5, -6, 7, 1, 1, 1, 1]), "a volume or a slice is needed"),
    "no axes": (header_only(dim=[3, 5, 0, 7, 1, 1, 1, 1]), "a volume or a slice is needed"),
    "complex": (nifti_bytes(volume().astype("c8")), "must be integers or floats of at most 64 bits"),
    "other bits than its type": (header_only(bitpix=64), "but the header says 64 (bitpix)"),
    "colour": (header_only(datatype=128, bitpix=24), "must be integers or floats of at most 64 bits"),
    "unknown type": (header_only(datatype=77), "voxels are of no known type (code 77)"),
    "offset in the header": (header_only(vox_offset=100), "voxels must start at byte 352 or later, not 100"),
    "offset no number": (header_only(vox_offset=np.nan), "the header is not valid"),
    "offset infinite": (header_only(vox_offset=np.inf), "the header is not valid"),
    "all NaN": (with_nan(210).to_bytes(), "210 of 210 are NaN or infinite"),
    "some NaN": (with_nan(3).to_bytes(), "3 of 210 are NaN or infinite"),
    "beyond float32": (nifti_bytes(volume() * 1e300), "are NaN or infinite"),
    "blank": (nifti_bytes(np.full(SHAPE, 7, "i2")), "the image is blank: all values are 7"),
    "voxels of 0": (header_only(pixdim=[1, 0, 1, 1, 1, 1, 1, 1], **QFORM_ONLY), "positive numbers, not [0.0, 1.0"),
    "voxels of 0, no qform": (header_only(pixdim=[1, 1, 0, 1, 1, 1, 1, 1], sform_code=0), "positive numbers"),
    "voxels no number": (header_only(pixdim=[1, np.nan, 1, 1, 1, 1, 1, 1]), "positive numbers, not [nan"),
    "voxels of 300 mm": (nifti_bytes(volume(), affine=np.diag([1, 1, 300.0, 1])), "must measure 0.05 to 25.0 mm, not"),
    "voxels in metres": (nifti_bytes(volume(), affine=np.diag([1e-3, 1e-3, 1e-3, 1])), "must measure 0.05 to 25.0 mm"),
    "affine no number": (header_only(srow_x=[np.nan, 0, 0, 0]), "the affine has entries that are NaN or infinite"),
    "affine infinite": (header_only(srow_y=[0, 1, 0, np.inf]), "the affine has entries that are NaN or infinite"),
    "affine singular": (header_only(srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0]), "the affine is singular"),
    "no rotation": (header_only(quatern_b=3, **QFORM_ONLY), "the header is not valid"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_file_is_one_error(tmp_path: Path, name: str) -> None:
    data, words = FAULTS[name]
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(CaseError) as caught:
        read_case(healthy(FileRef(path)), tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert peak < 16 << 20  # no room is made for what a header merely claims


def test_a_faulty_mask_is_named_and_not_the_image(tmp_path: Path) -> None:
    image = write(tmp_path / "image.nii", nifti(volume()))
    (tmp_path / "mask.nii").write_bytes(b"")
    for case in (
        Case("s1", image, FileRef(tmp_path / "mask.nii")),
        healthy(image, brain=FileRef(tmp_path / "mask.nii")),
    ):
        with pytest.raises(CaseError, match="the file is empty") as caught:
            read_case(case, tmp_path)
        assert caught.value.file == str(tmp_path / "mask.nii")


@settings(max_examples=300)
@given(changes=st.dictionaries(st.integers(0, 351), st.integers(0, 255), max_size=6), pack=st.booleans())
def test_no_header_whatsoever_gives_another_kind_of_error(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[int, int], pack: bool
) -> None:
    raw = bytearray(nifti_bytes(volume()))
    for place, value in changes.items():
        raw[place] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed.nii"
    path.write_bytes(gzip.compress(raw, 1) if pack else raw)
    try:
        scan = read_case(healthy(FileRef(path)), path.parent)
    except CaseError:
        return
    assert np.isfinite(scan.image).all()
    assert np.isfinite(scan.affine).all()


# --- where files may lie ---------------------------------------------------------------------------------------------


def reads(path: Path, root: Path, member: str | None = None) -> bool:
    return read_case(healthy(FileRef(path, member)), root).image.shape == SHAPE


def refused(path: Path, root: Path, words: str, member: str | None = None) -> None:
    with pytest.raises(CaseError) as caught:
        read_case(healthy(FileRef(path, member)), root)
    assert words in str(caught.value)
    assert path.name in caught.value.file


def test_links_may_lead_anywhere_inside_the_data_folder_and_the_folder_may_be_one(tmp_path: Path) -> None:
    real = tmp_path / "disk"
    ref = write(real / "store" / "a.nii", nifti(volume()))
    (real / "link.nii").symlink_to(ref.path)
    (real / "folder").symlink_to(real / "store")
    root = tmp_path / "root"
    root.symlink_to(real)
    assert reads(root / "link.nii", root)
    assert reads(root / "folder" / "a.nii", root)
    assert reads(root / "store" / "a.nii", real)


def test_relative_paths_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "data" / "a.nii", nifti(volume()))
    monkeypatch.chdir(tmp_path)
    assert reads(Path("data/a.nii"), Path("data"))


def test_no_path_leads_out_of_the_data_folder(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside.nii", nifti(volume()))
    twin = write(tmp_path / "root-of-others" / "a.nii", nifti(volume()))
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.nii").symlink_to(outside.path)
    (root / "folder").symlink_to(twin.path.parent)
    refused(root / "link.nii", root, f"is a link to {outside.path}, outside of {root}")
    refused(root / "folder" / "a.nii", root, "must lie inside the data folder")
    refused(root / ".." / "outside.nii", root, "must lie inside the data folder")
    refused(twin.path, root, "must lie inside the data folder")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "dangling.nii").symlink_to(tmp_path / "gone")
    (tmp_path / "a.nii").symlink_to(tmp_path / "b.nii")
    (tmp_path / "b.nii").symlink_to(tmp_path / "a.nii")
    os.mkfifo(tmp_path / "pipe.nii")
    refused(tmp_path / "folder.nii", tmp_path, "a file is needed")
    refused(tmp_path / "pipe.nii", tmp_path, "a file is needed")
    refused(tmp_path / "missing.nii", tmp_path, "there is no such file")
    refused(tmp_path / "dangling.nii", tmp_path, "there is no such file")
    refused(tmp_path / "a.nii", tmp_path, "cannot be found")
    refused(tmp_path / ("x" * 300 + ".nii"), tmp_path, "cannot be found")


@pytest.mark.parametrize("method", ["open", "resolve"])
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    ref = write(tmp_path / "a.nii", nifti(volume()))

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, method, refuse)  # root may read everything, so permissions alone would not do
    refused(ref.path, tmp_path, "may not be read (Permission denied)")


def make_zip(path: Path, name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo(name), data, method)
    return path


@pytest.mark.parametrize("name", ["../a.nii", "x/../../a.nii", "/etc/a.nii", "..\\a.nii", "C:\\a.nii", "C:/a.nii"])
def test_a_member_whose_path_leads_out_of_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    archive = make_zip(tmp_path / "a.zip", name, nifti_bytes(volume()))
    refused(archive, tmp_path, "leads out of the archive", name)


def test_a_member_larger_than_the_limit_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_zip(tmp_path / "bomb.zip", "a.nii", bytes(20 << 20))
    assert archive.stat().st_size < 1 << 20
    monkeypatch.setattr(files, "MAX_BYTES", 10 << 20)
    tracemalloc.start()
    refused(archive, tmp_path, "has 20971520 bytes unpacked, more than the limit of 10485760", "a.nii")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def encrypted(data: bytes) -> bytes:
    """Set the flag of encryption in both headers."""
    raw = bytearray(data)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(mark) + place] |= 1
    return bytes(raw)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw[:-30], "is damaged or cut short"),
        (lambda raw: raw.replace(b"\x01\x02\x03\x04", b"\x01\x02\x03\x05"), "is damaged or cut short"),
        (lambda raw: b"", "the file is empty"),
        (encrypted, "cannot be unpacked"),
    ],
)
def test_a_damaged_archive_is_named(tmp_path: Path, change: Callable[[bytes], bytes], words: str) -> None:
    data = nifti_bytes(volume()) + b"\x01\x02\x03\x04"
    archive = make_zip(tmp_path / "a.zip", "a.nii", data, zipfile.ZIP_STORED)
    assert reads(archive, tmp_path, "a.nii")
    archive.write_bytes(change(archive.read_bytes()))
    refused(archive, tmp_path, words, "a.nii")


def test_members_that_are_absent_folders_or_empty_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/", b"")
        archive.writestr("empty.nii", b"")
    refused(tmp_path / "a.zip", tmp_path, "no such member", "b.nii")
    refused(tmp_path / "a.zip", tmp_path, "the file is empty", "folder/")
    refused(tmp_path / "a.zip", tmp_path, "the file is empty", "empty.nii")
