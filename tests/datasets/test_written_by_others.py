"""Sets whose names, places, formats, types and frames are drawn: read right, or refused, never healthy by mistake."""

from __future__ import annotations

import bz2
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from adbench_datasets.imaging.cases import Case, FileRef, Scan, chosen_labels
from adbench_datasets.imaging.reading import read_case
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_folders import BLOB, MASK, all_of, found_px, picture
from PIL import Image

from adbench.errors import DataError

few = settings(max_examples=20)
many = settings(max_examples=200)


# --- not found is not none -------------------------------------------------------------------------------------------

Write = Callable[[Path], object]
WRITERS: dict[str, Write] = {
    ".png": lambda path: Image.fromarray(MASK).save(path),
    ".PNG": lambda path: iio.imwrite(path, MASK),
    ".tif": lambda path: tifffile.imwrite(path, MASK, compression="zlib"),
    ".tiff": lambda path: tifffile.imwrite(path, BLOB.astype(np.float32)),
    ".jpg": lambda path: Image.fromarray(MASK).save(path, quality=95),
    ".bmp": lambda path: Image.fromarray(MASK).save(path),
    ".webp": lambda path: Image.fromarray(MASK).save(path, lossless=True),
    ".npy": lambda path: np.save(path, MASK),
    ".mha": lambda path: sitk.WriteImage(sitk.GetImageFromArray(MASK), str(path)),
    ".nrrd": lambda path: sitk.WriteImage(sitk.GetImageFromArray(MASK), str(path)),
    ".nii": lambda path: nib.save(nib.Nifti1Image(MASK.T[:, ::-1, None], np.eye(4)), path),
    ".nii.gz": lambda path: sitk.WriteImage(sitk.GetImageFromArray(MASK[None]), str(path)),
    ".nii.bz2": lambda path: path.write_bytes(bz2.compress(nib.Nifti1Image(MASK[..., None], np.eye(4)).to_bytes())),
}
NAMES = ("x1", "X1", "x01", "x1_label", "x1_mask", "x1-seg", "x1 ", "mask_x1")
PLACES = ("test/lesions", "test/lesions/defect", "test/Lesions", "test/masks", "lesions", "derivatives")


def misplaced_mask(name: str, place: str, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for i in range(2):
            for where in ("test/images", "test/lesions"):
                (root / where).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(i, True)).save(root / f"test/images/x{i}.png")
        Image.fromarray(MASK).save(root / "test/lesions/x0.png")
        (root / place).mkdir(parents=True, exist_ok=True)
        WRITERS[suffix](root / place / f"{name}{suffix}")
        try:
            split = all_of(root)
        except DataError as error:
            assert "x1" in str(error).lower() or "defect" in str(error) or "x01" in str(error)  # noqa: PT017
            return
        assert abs(found_px(split, "x1") - BLOB.sum()) <= 0.1 * BLOB.sum()
        assert found_px(split, "x0") == BLOB.sum()


drawn_mask = {
    "name": st.sampled_from(NAMES),
    "place": st.sampled_from(PLACES),
    "suffix": st.sampled_from(sorted(WRITERS)),
}


@few
@given(**drawn_mask)
def test_a_mask_of_any_name_place_and_format_is_found_or_named(name: str, place: str, suffix: str) -> None:
    misplaced_mask(name, place, suffix)


@pytest.mark.slow
@many
@given(**drawn_mask)
def test_many_masks_of_any_name_place_and_format_are_found_or_named(name: str, place: str, suffix: str) -> None:
    misplaced_mask(name, place, suffix)


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_a_mask_with_the_name_of_its_image_is_found_or_named_in_every_format(suffix: str) -> None:
    misplaced_mask("x1", "test/lesions", suffix)


LABELS = ("label-lesion_mask", "label-Lesion_mask", "label-lesion_roi", "desc-lesion_dseg", "mask", "desc-manual_mask")
TISSUE = ("dseg", "label-GM_mask", "desc-brain_mask", "label-WM_probseg")
SIZE = (24, 28, 6)
x, y, z = np.mgrid[: SIZE[0], : SIZE[1], : SIZE[2]]
ROUND = ((x - 12) / 10) ** 2 + ((y - 14) / 12) ** 2 < 1
SPOT = (x - 8) ** 2 + (y - 18) ** 2 + 4 * (z - 3) ** 2 < 9


def volume(seed: int = 0, lesion: bool = True) -> np.ndarray:
    image = np.where(ROUND, 100 + np.random.default_rng(seed).integers(0, 40, SIZE), 0)
    return np.where(SPOT & lesion, 220, image).astype(np.int16)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 4.0, 1.0]) if affine is None else affine), path)


@few
@given(
    label=st.sampled_from(LABELS + TISSUE),
    session=st.sampled_from(["ses-1", "ses-2", ""]),
    subject=st.sampled_from(["sub-1", "sub-3"]),
    suffix=st.sampled_from([".nii.gz", ".nii", ".mha"]),
    place=st.sampled_from(["derivatives/manual", "derivatives", "sourcedata", "masks"]),
)
def test_a_mask_of_a_bids_set_is_found_or_named(
    label: str, session: str, subject: str, suffix: str, place: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for i in (1, 2):
            save(root / f"sub-{i}/ses-1/anat/sub-{i}_ses-1_FLAIR.nii.gz", volume(i))
        right = root / "derivatives/manual/sub-2/ses-1/anat/sub-2_ses-1_label-lesion_mask.nii.gz"
        save(right, SPOT.astype(np.uint8))
        name = "_".join(filter(None, (subject, session, label))) + suffix
        path = root / place / subject / session / "anat" / name
        if suffix == ".mha":
            path.parent.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(SPOT.astype(np.uint8).T), str(path))
        else:
            save(path, SPOT.astype(np.uint8))
        try:
            split = all_of(root, spacing_mm="keep")
        except DataError:
            return
        assert found_px(split, "sub-1") == found_px(split, "sub-2") > 0
        assert label in LABELS
        assert (subject, session, place.split("/")[0]) == ("sub-1", "ses-1", "derivatives")


# --- values, types and sizes -----------------------------------------------------------------------------------------

DTYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
spacings = st.tuples(*[st.floats(0.3, 6.0).map(lambda mm: float(np.float32(mm)))] * 3)


def by_nibabel(path: Path, array: np.ndarray, spacing: tuple[float, float, float]) -> None:
    nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0]), dtype=array.dtype), path)


def by_simpleitk(path: Path, array: np.ndarray, spacing: tuple[float, float, float]) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing)
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # LPS to RAS
    sitk.WriteImage(image, str(path))


def read(root: Path, image: Path, mask: Path, **labels: Any) -> Scan:
    return read_case(Case("s", FileRef(image), FileRef(mask), labels=chosen_labels(None), **labels), root)


@settings(max_examples=40)
@given(
    dtype=st.sampled_from(DTYPES),
    mask_dtype=st.sampled_from(DTYPES),
    spacing=spacings,
    writer=st.sampled_from([by_nibabel, by_simpleitk]),
    largest=st.sampled_from([100, 2**24, 2**53, 2**62]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
)
def test_every_type_and_spacing_reads_as_it_was_written_whoever_wrote_it(
    dtype: str, mask_dtype: str, spacing: tuple[float, float, float], writer: Any, largest: int, suffix: str
) -> None:
    limit = np.iinfo(dtype).max if dtype[0] in "iu" else np.inf
    array = volume().astype(np.float64)
    array = (array / array.max() * min(largest, limit, 2.0**62)).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        writer(root / f"image{suffix}", array, spacing)
        writer(root / f"mask{suffix}", SPOT.astype(mask_dtype), spacing)
        scan = read(root, root / f"image{suffix}", root / f"mask{suffix}")
    assert scan.image.dtype == np.float32
    np.testing.assert_array_equal(scan.image, array.astype(np.float32))
    assert scan.lesion is not None
    np.testing.assert_array_equal(scan.lesion, SPOT)
    assert scan.spacing_mm == pytest.approx(spacing, rel=1e-5)
    assert abs(np.linalg.det(scan.affine[:3, :3])) == pytest.approx(np.prod(spacing), rel=1e-5)


@few
@given(slope=st.floats(1e-3, 1e3), inter=st.floats(-2000, 2000), dtype=st.sampled_from(DTYPES))
def test_values_read_a_few_slices_at_a_time_are_those_that_nibabel_reads_at_once(
    slope: float, inter: float, dtype: str
) -> None:
    array = np.random.default_rng(0).integers(0, 120, (5, 4, 19)).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scaled.nii.gz"
        image = nib.Nifti1Image(array, np.eye(4), dtype=array.dtype)
        image.header.set_slope_inter(slope, inter)
        nib.save(image, path)
        expected = np.asarray(nib.load(path).dataobj, dtype=np.float32)
        scan = read_case(Case("s", FileRef(path), lesion_free=True), Path(folder))
    np.testing.assert_array_equal(scan.image, expected)


# --- framing ---------------------------------------------------------------------------------------------------------

margins = st.tuples(st.integers(-2, 9), st.integers(-2, 9))
"""Air that is added, or taken off where there are at least 2 voxels of it."""


@few
@given(
    across=margins,
    along=margins,
    air=st.sampled_from([0, 3]),
    dtype=st.sampled_from(["i2", "u1", "f4"]),
    writer=st.sampled_from([by_nibabel, by_simpleitk]),
)
def test_air_that_is_added_or_cropped_in_a_file_changes_nothing_of_its_slices(
    across: tuple[int, int], along: tuple[int, int], air: int, dtype: str, writer: Any
) -> None:
    def framed(array: np.ndarray, value: int) -> np.ndarray:
        for axis, (low, high) in enumerate((across, along)):
            widths = [(0, 0)] * 3
            widths[axis] = (max(low, 0), max(high, 0))
            array = np.pad(array, widths, constant_values=value)
            array = np.take(array, range(max(-low, 0), array.shape[axis] - max(-high, 0)), axis)
        return array

    made = []
    for change in (lambda array, value: array, framed):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for part in ("images", "lesions"):
                (root / "test" / part).mkdir(parents=True)
            image, mask = (change(a, v) for a, v in ((volume() + air, air), (SPOT.astype("u1"), 0)))
            writer(root / "test/images/a.nii.gz", image.astype(dtype), (2.0, 2.0, 4.0))
            writer(root / "test/lesions/a.nii.gz", mask, (2.0, 2.0, 4.0))
            made.append(all_of(root, fov_mm=64))
    bare, other = made
    assert bare.lesions is not None
    assert bare.lesions.any()
    np.testing.assert_array_equal(bare.lesions, other.lesions)
    np.testing.assert_array_equal(bare.brains, other.brains)
    np.testing.assert_allclose(bare.images, other.images, atol=1e-5)
