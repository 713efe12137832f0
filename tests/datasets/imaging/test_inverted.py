"""A CT with all its values turned round is refused, whatever lies around it; one that is not, is read."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from adbench_datasets.imaging.cases import Case, FileRef, Labels, Scan
from adbench_datasets.imaging.reading import CaseError, read_case
from adbench_datasets.imaging.region import check_units, region_of
from hypothesis import given, settings
from hypothesis import strategies as st

from adbench.errors import DataError

SHAPE = (64, 72, 4)
R = np.hypot(*(np.linspace(-1, 1, n).reshape(s) for n, s in zip(SHAPE, ((-1, 1, 1), (1, -1, 1)), strict=False)))
R = R * np.linspace(1, 1.2, SHAPE[2])
few = settings(max_examples=25)


def head(size: float, noise: float, seed: int) -> np.ndarray:
    """Skin, fat, two tables of bone, fluid, brain and ventricles in HU, (64, 72, 4); radius `size` of the frame."""
    r = R / size
    layers = ((1.0, 40), (0.97, -90), (0.92, 1200), (0.9, 500), (0.88, 1200), (0.84, 8), (0.8, 32), (0.2, 6))
    image = np.full(SHAPE, -1000.0)
    for radius, value in layers:
        image[r < radius] = value
    return image + noise * np.random.default_rng(seed).standard_normal(SHAPE)


def around(image: np.ndarray, border: str, value: float) -> np.ndarray:
    if border == "circle":
        return np.where(R[..., :1] > 1, value, image)
    width = {"none": 0, "thin": 1, "wide": 9}[border]
    left = 6 if border == "wide" else 0
    return np.pad(image, ((width + left, width), (width, width), (0, 0)), constant_values=value)


def read(image: np.ndarray, by_itk: bool) -> Scan:
    """The HU as int16 in a file of another library, read and found to be a head."""
    stored = np.rint(image).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ct.nii.gz"
        if by_itk:
            sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(stored.T)), str(path))
        else:
            nib.save(nib.Nifti1Image(stored, np.eye(4)), path)
        scan = read_case(Case("s", FileRef(path), lesion_free=True), Path(folder))
    check_units(scan, "hu")
    return scan


drawn = {
    "size": st.sampled_from([0.6, 0.75, 0.95]),
    "noise": st.sampled_from([0.0, 8.0, 30.0]),
    "border": st.sampled_from(["none", "thin", "wide", "circle"]),
    "value": st.sampled_from([-3024.0, -2000.0, -1024.0, -1000.0, 0.0]),
    "by_itk": st.booleans(),
    "seed": st.integers(0, 9),
}


@few
@given(**drawn, turned_about=st.integers(-200, 3000), padded_before=st.booleans())
def test_an_inverted_ct_is_refused_in_any_frame_padding_and_noise(
    size: float,
    noise: float,
    border: str,
    value: float,
    by_itk: bool,
    seed: int,
    turned_about: int,
    padded_before: bool,
) -> None:
    image = head(size, noise, seed)
    if padded_before:
        inverse = turned_about - around(image, border, value)
    else:
        inverse = around(turned_about - image, border, value)
    with pytest.raises(DataError, match=r"inverted|CT must be in HU|median of a head"):
        region_of(read(inverse, by_itk), "hu")


@few
@given(**drawn)
def test_a_ct_is_read_in_any_frame_padding_and_noise(
    size: float, noise: float, border: str, value: float, by_itk: bool, seed: int
) -> None:
    image = around(head(size, noise, seed), border, value)
    region = region_of(read(image, by_itk), "hu")
    assert region.sum() == pytest.approx(np.count_nonzero(size > R), rel=0.02)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_mask_that_covers_the_frame_is_refused(tmp_path: Path, inverted: bool) -> None:
    image, mask = head(0.75, 8, 0), np.ones(SHAPE, np.uint8)
    if inverted:
        mask[R < 0.2] = 0
    for name, array in (("image", image), ("mask", mask)):
        nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), tmp_path / f"{name}.nii")
    case = Case("s", FileRef(tmp_path / "image.nii"), FileRef(tmp_path / "mask.nii"), labels=Labels(others="lesion"))
    with pytest.raises(CaseError, match="covers the whole frame, or is inverted"):
        read_case(case, tmp_path)
