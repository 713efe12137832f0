"""Where voxels lie: files of other programs are read as those programs place them, and contradictions are refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.imaging.preprocessing import prepare
from adbench_datasets.imaging.preprocessing_config import PreprocessingConfig
from adbench_datasets.imaging.reading import CaseError, read_case
from adbench_datasets.imaging.volumes import volume_mm3
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scan_files import SHAPE, edited, grid, healthy, nifti, some_mask, volume, write
from scipy import ndimage
from scipy.spatial.transform import Rotation

LPS_TO_RAS = np.diag([-1.0, -1, 1, 1])
ORIENTATIONS = ["".join(p) for axes in itertools.permutations(("RL", "AP", "SI")) for p in itertools.product(*axes)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def by_itk(path: Path, array: np.ndarray, affine: np.ndarray) -> FileRef:
    """Write (X, Y, Z) with SimpleITK, which thinks in LPS and stores Z, Y, X."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(image, str(path))
    return FileRef(path)


def itk_point(path: Path, index: tuple[int, int, int]) -> np.ndarray:
    """Where SimpleITK places a voxel, in RAS."""
    return np.array(sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]


def turned(axes: str, array: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    image = nib.Nifti1Image(array, affine)
    to = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes))
    return image.as_reoriented(to)


def oblique(angle: float) -> np.ndarray:
    affine = grid()
    affine[:3, :3] = Rotation.from_rotvec([angle / 2, angle, angle / 3]).as_matrix() @ affine[:3, :3]
    return affine


@settings(max_examples=40)
@given(
    axes=st.sampled_from(ORIENTATIONS),
    angle=st.floats(-0.5, 0.5),
    dtype=st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"]),
)
def test_a_volume_of_simpleitk_reads_with_each_voxel_where_simpleitk_places_it(
    root: Path, axes: str, angle: float, dtype: str
) -> None:
    stored = turned(axes, volume(), oblique(angle))
    array = np.asarray(stored.dataobj).astype(dtype)
    ref = by_itk(root / "itk.nii.gz", array, stored.affine)
    scan = read_case(healthy(ref), root)
    assert_array_equal(scan.image, volume())
    for index in ((0, 0, 0), (1, 2, 3), tuple(n - 1 for n in SHAPE)):
        place = scan.affine @ [*index, 1]
        back = np.rint(np.linalg.inv(stored.affine) @ place)[:3].astype(int)
        assert_allclose(place[:3], itk_point(ref.path, tuple(back.tolist())), atol=1e-3)


def head(seed: int = 0) -> np.ndarray:
    x, y, _ = np.mgrid[:40, :48, :8]
    inside = ((x - 19) / 15) ** 2 + ((y - 23) / 19) ** 2 < 1
    return np.where(inside, 80 + np.random.default_rng(seed).integers(0, 40, inside.shape), 0).astype("i2")


def test_all_48_orientations_give_the_same_slices(tmp_path: Path) -> None:
    array, lesion = head(), np.zeros((40, 48, 8), "u1")
    lesion[10:15, 28:33, 3:5] = 1
    array[lesion > 0] = 200
    affine = np.diag([2.0, 2.0, 4.0, 1])
    config = PreprocessingConfig(size=64, min_area_fraction=0)
    made = []
    for axes in ORIENTATIONS:
        image = write(tmp_path / "a.nii", turned(axes, array, affine))
        mask = write(tmp_path / "m.nii", turned(axes, lesion, affine))
        made.append(prepare(read_case(Case("s", image, mask), tmp_path), config, "mri"))
    for other in made[1:]:
        assert_array_equal(other.images, made[0].images)
        assert_array_equal(other.lesions, made[0].lesions)
        assert other.hashes == made[0].hashes


@settings(max_examples=30)
@given(
    slope=st.sampled_from([0.0, np.nan, 1.0, 0.5, -2.0]),
    inter=st.sampled_from([0.0, np.nan, -1024.0, 3.0]),
    endian=st.sampled_from("<>"),
    dtype=st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"]),
)
def test_values_are_scaled_as_nibabel_scales_them(
    root: Path, slope: float, inter: float, endian: str, dtype: str
) -> None:
    path = root / "scaled.nii"
    path.write_bytes(edited(nifti(volume().astype(dtype), endian=endian), scl_slope=slope, scl_inter=inter))
    if slope and not np.isnan(slope) and np.isnan(inter):
        with pytest.raises(CaseError):
            read_case(healthy(FileRef(path)), root)
        return
    assert_array_equal(read_case(healthy(FileRef(path)), root).image, nib.load(path).get_fdata().astype("f4"))


def two_forms(qform: np.ndarray, sform: np.ndarray, codes: tuple[int, int] = (1, 1)) -> nib.Nifti1Image:
    image = nifti(volume(), sform)
    image.set_qform(qform, codes[0])
    image.set_sform(sform, codes[1])
    image.header["pixdim"][1:4] = nib.affines.voxel_sizes(sform)
    return image


FLIPPED = grid() @ np.diag([-1.0, 1, 1, 1])
MOVED = grid() + np.pad([[2.0]], ((0, 3), (3, 0)))
SHEARED = grid() @ np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
CONTRADICTIONS: dict[str, tuple[bytes, str]] = {
    "qform flipped": (two_forms(FLIPPED, grid()).to_bytes(), "sform and qform must place voxels alike"),
    "sform moved": (two_forms(grid(), MOVED, (1, 4)).to_bytes(), "sform and qform must place voxels alike"),
    "qform no rotation": (edited(nifti(volume()), qform_code=1, quatern_b=3), "sform and qform must place voxels"),
    "pixdim negative": (
        edited(nifti(volume()), pixdim=[1, -0.8, 1.5, 3, 1, 1, 1, 1], sform_code=0),
        "must be positive numbers, not [-0.8",
    ),
    "pixdim negative beside a sform": (edited(nifti(volume()), pixdim=[1, 0.8, -1.5, 3, 1, 1, 1, 1]), "positive"),
    "pixdim infinite": (edited(nifti(volume()), pixdim=[1, 0.8, np.inf, 3, 1, 1, 1, 1]), "positive numbers"),
    "pixdim unlike the sform": (edited(nifti(volume()), pixdim=[1, 1, 1, 1, 1, 1, 1, 1]), "one voxel size is needed"),
    "sheared": (nifti(volume(), SHEARED).to_bytes(), "it is sheared"),
    "singular": (edited(nifti(volume()), srow_z=[0.8, 0, 0, 0], srow_x=[0.8, 0, 0, 0]), "must measure"),
    "metres": (edited(nifti(volume()), xyzt_units=1), "the header says metres"),
    "micrometres": (edited(nifti(volume()), xyzt_units=3), "the header says micrometres"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_header_that_says_two_things_is_refused(tmp_path: Path, name: str) -> None:
    data, words = CONTRADICTIONS[name]
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(CaseError) as caught:
        read_case(healthy(FileRef(tmp_path / "a.nii")), tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize("qfac", [1, -1])
def test_the_sign_of_pixdim_0_is_legal(tmp_path: Path, qfac: int) -> None:
    image = nifti(volume(), grid() if qfac == 1 else FLIPPED)
    image.set_qform(image.affine, 1)
    assert image.header["pixdim"][0] == qfac
    scan = read_case(healthy(write(tmp_path / "a.nii", image)), tmp_path)
    assert_array_equal(scan.image, volume()[::qfac])


def test_units_that_are_not_said_or_have_a_time_are_mm(tmp_path: Path) -> None:
    for units in (0, 2, 10):
        (tmp_path / "a.nii").write_bytes(edited(nifti(volume()), xyzt_units=units))
        assert read_case(healthy(FileRef(tmp_path / "a.nii")), tmp_path).spacing_mm is not None


def test_without_sform_and_qform_nibabel_s_place_is_taken_and_said(tmp_path: Path) -> None:
    for name, array in (("a.nii", volume()), ("m.nii", some_mask())):
        (tmp_path / name).write_bytes(edited(nifti(array), sform_code=0, qform_code=0))
    image, mask = FileRef(tmp_path / "a.nii"), FileRef(tmp_path / "m.nii")
    scan = read_case(Case("s", image, mask), tmp_path)
    reference = nib.as_closest_canonical(nib.load(image.path))
    assert_array_equal(scan.image, reference.get_fdata())
    assert_allclose(scan.affine, reference.affine)
    assert_array_equal(scan.lesion, some_mask()[::-1] == 1)
    assert "which side is left is not known" in " ".join(scan.notes)
    placed = write(tmp_path / "m.nii", nifti(some_mask()))
    with pytest.raises(CaseError, match="must lie on the grid of its image"):
        read_case(Case("s", image, placed), tmp_path)


@settings(max_examples=40)
@given(axes=st.sampled_from(ORIENTATIONS), other=st.sampled_from(ORIENTATIONS), low=st.tuples(*[st.integers(0, 1)] * 3))
def test_a_cropped_mask_is_brought_to_its_image_by_the_affines(
    root: Path, axes: str, other: str, low: tuple[int, ...]
) -> None:
    lesion = np.zeros(SHAPE, "u1")
    lesion[2:4, 2:5, 3:5] = 1
    affine = grid()
    affine[:3, 3] = (grid() @ [*low, 1])[:3]
    cropped = lesion[low[0] :, low[1] :, low[2] : -1]
    image = write(root / "a.nii", turned(axes, volume(), grid()))
    mask = write(root / "m.nii", turned(other, cropped, affine))
    scan = read_case(Case("s", image, mask), root)
    assert_array_equal(scan.lesion, lesion == 1)
    assert "brought there by the affines" in " ".join(scan.notes)


def test_a_finer_mask_lands_where_simpleitk_resamples_it(tmp_path: Path) -> None:
    fine = np.zeros((120, 144, 24), "u1")
    fine[31:47, 61:90, 7:14] = 1
    affine = np.diag([3.0, 3.0, 6.0, 1])
    third = np.diag([1.0, 1.0, 2.0, 1])
    third[:3, 3] = -1, -1, -2
    image, mask = by_itk(tmp_path / "a.nii", head(), affine), by_itk(tmp_path / "m.nii", fine, third)
    on = sitk.Resample(
        sitk.ReadImage(str(mask.path)), sitk.ReadImage(str(image.path)), sitk.Transform(), sitk.sitkNearestNeighbor
    )
    assert_array_equal(read_case(Case("s", image, mask), tmp_path).lesion, sitk.GetArrayFromImage(on).T > 0)


@settings(max_examples=60)
@given(
    axes=st.sampled_from(ORIENTATIONS),
    finer=st.tuples(*[st.integers(1, 5)] * 3).filter(lambda times: max(times) > 1),
    seed=st.integers(0, 99),
)
def test_no_part_of_a_finer_mask_is_lost_between_the_slices_of_its_image(
    root: Path, axes: str, finer: tuple[int, ...], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    fine = np.zeros([n * times for n, times in zip(SHAPE, finer, strict=True)], "u1")
    for corner in rng.integers(0, fine.shape, (rng.integers(1, 4), 3)):
        fine[tuple(slice(at, at + size) for at, size in zip(corner, rng.integers(1, 5, 3), strict=True))] = 1
    affine = grid() @ np.diag([*(1 / np.array(finer)), 1])
    affine[:3, 3] += grid()[:3, :3] @ (1 / np.array(finer) - 1) / 2  # the same corner of the scan
    image, mask = write(root / "a.nii", nifti(volume())), write(root / "m.nii.gz", turned(axes, fine, affine))
    scan = read_case(Case("s", image, mask), root)
    blocks = fine.reshape([n for pair in zip(SHAPE, finer, strict=True) for n in pair])
    marked = blocks.any(axis=(1, 3, 5))
    assert scan.lesion is not None
    assert not (scan.lesion & ~marked).any()
    assert_array_equal(scan.lesion.any((0, 1)), marked.any((0, 1)))
    for k in range(SHAPE[2]):
        parts, n = ndimage.label(marked[..., k], np.ones((3, 3)))
        assert set(np.unique(parts[scan.lesion[..., k]])) == set(range(1, n + 1))
    assert "brought there by the affines" in " ".join(scan.notes)


@settings(max_examples=30)
@given(coarser=st.tuples(*[st.sampled_from([1, 2, 3])] * 3).filter(lambda times: max(times) > 1))
def test_a_coarser_mask_marks_all_of_the_image_s_voxels_in_its_own(root: Path, coarser: tuple[int, ...]) -> None:
    coarse = some_mask()
    image = np.kron(volume(), np.ones(coarser, "i2"))
    affine = grid() @ np.diag([*coarser, 1.0])
    affine[:3, 3] += grid()[:3, :3] @ (np.array(coarser) - 1) / 2
    files = write(root / "a.nii", nifti(image)), write(root / "m.nii", nifti(coarse, affine))
    assert_array_equal(read_case(Case("s", *files), root).lesion, np.kron(coarse, np.ones(coarser)) == 1)


@pytest.mark.parametrize("change", ["beyond the image", "no place", "same shape elsewhere"])
def test_a_mask_that_cannot_be_brought_whole_is_refused(tmp_path: Path, change: str) -> None:
    array, affine = np.ones((3, 3, 3), "u1"), grid()
    fields: dict[str, Any] = {}
    if change == "beyond the image":
        affine[2, 3] += 15
    elif change == "no place":
        fields = {"sform_code": 0, "qform_code": 0}
    else:
        array, affine = some_mask(), MOVED
    (tmp_path / "m.nii").write_bytes(edited(nifti(array, affine), **fields))
    image = write(tmp_path / "a.nii", nifti(volume()))
    with pytest.raises(CaseError, match="or be brought there whole by the affines"):
        read_case(Case("s", image, FileRef(tmp_path / "m.nii")), tmp_path)


@settings(max_examples=30)
@given(axes=st.sampled_from(ORIENTATIONS), angle=st.floats(-0.6, 0.6))
def test_a_volume_in_mm3_is_that_of_the_affine_in_any_orientation(root: Path, axes: str, angle: float) -> None:
    mask = write(root / "v.nii", turned(axes, some_mask(), oblique(angle)))
    assert volume_mm3(mask, root) == pytest.approx(some_mask().sum() * 0.8 * 1.5 * 3, rel=1e-4)
