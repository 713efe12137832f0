"""Reading volumes: the same array whatever the file looks like, and masks on the voxels that they were drawn on."""

from __future__ import annotations

import itertools
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.imaging.reading import CaseError, read_case, to_source
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scan_files import SHAPE, SPACING, edited, grid, healthy, nifti, some_mask, volume, with_mask, write
from scipy.spatial.transform import Rotation

from adbench.errors import DataError

ORIENTATIONS = ["".join(p) for axes in itertools.permutations(("RL", "AP", "SI")) for p in itertools.product(*axes)]


def stored_as(canonical: nib.Nifti1Image, axes: str) -> nib.Nifti1Image:
    """nibabel's own way to another orientation."""
    ornt = nib.orientations.axcodes2ornt(axes)
    return canonical.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(canonical.affine), ornt))


def fault(case: Case, root: Path, **options: int) -> str:
    """The message of the one error that a faulty case gives, which is short and names a file."""
    with pytest.raises(CaseError) as caught:
        read_case(case, root, **options)
    assert caught.value.file in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder for all examples of a property, whose files replace one another."""
    return tmp_path_factory.mktemp("data")


# --- the same array whatever the file looks like ---------------------------------------------------------------------


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@settings(max_examples=80)
@given(
    axes=st.sampled_from(ORIENTATIONS),
    dtype=st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]),
    endian=st.sampled_from("<>"),
    scaling=st.sampled_from([(1.0, 0.0), (2.0, -1024.0), (0.25, 3.0)]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
    angle=st.floats(-0.6, 0.6),
    version=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
)
def test_a_volume_reads_the_same_however_it_is_stored_and_goes_back_exactly(
    root: Path,
    axes: str,
    dtype: str,
    endian: str,
    scaling: tuple[float, float],
    suffix: str,
    angle: float,
    version: type[nib.Nifti1Image],
) -> None:
    affine = grid()
    affine[:3, :3] = Rotation.from_rotvec([angle / 2, angle, angle / 3]).as_matrix() @ affine[:3, :3]
    array = volume()
    turned = stored_as(nib.Nifti1Image(array, affine), axes)
    header = version.header_class(endianness=endian)
    header.set_data_dtype(dtype)
    file = version(np.asarray(turned.dataobj).astype(dtype), turned.affine, header)
    path = root / f"scan{suffix}"
    with nib.openers.ImageOpener(path, "wb") as out:
        out.write(edited(file, scl_slope=scaling[0], scl_inter=scaling[1]))

    scan = read_case(healthy(FileRef(path)), root)
    assert scan.image.dtype == np.float32
    assert scan.image.dtype.isnative
    assert_array_equal(scan.image, array * scaling[0] + scaling[1])
    assert_allclose(scan.affine, affine, atol=1e-4)
    assert_allclose(scan.spacing_mm, SPACING, rtol=1e-5)
    assert nib.aff2axcodes(scan.affine) == ("R", "A", "S")

    back = to_source(scan.image, scan)
    loaded = nib.load(path)
    assert_array_equal(np.asarray(back.dataobj), loaded.get_fdata())
    assert_allclose(back.affine, loaded.affine, atol=1e-12)


def test_to_source_survives_a_save_and_keeps_masks(tmp_path: Path) -> None:
    image = stored_as(nifti(volume()), "PIL")
    scan = read_case(healthy(write(tmp_path / "a.nii", image)), tmp_path)
    out = write(tmp_path / "back.nii", to_source(scan.image > 50, scan))
    again = nib.load(out.path)
    assert again.get_data_dtype() == np.uint8
    assert_array_equal(np.asarray(again.dataobj), np.asarray(image.dataobj) > 50)
    assert_allclose(again.affine, image.affine, atol=1e-5)
    with pytest.raises(DataError, match=r"shape \(5, 6, 7\), not \(5, 6\)"):
        to_source(scan.image[..., 0], scan)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 7, 1), (5, 6, 7, 1, 1), (5, 6, 1)])
def test_a_slice_and_a_fourth_axis_of_one_are_volumes_and_go_back_as_they_were(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    array = volume(shape)
    scan = read_case(healthy(write(tmp_path / "a.nii.gz", nifti(array, np.diag([-1.0, 1, 3, 1])))), tmp_path)
    x, y, z = (*shape[:3], 1)[:3]
    assert_array_equal(scan.image, array.reshape(x, y, z)[::-1])
    assert scan.source_shape == shape
    assert_array_equal(np.asarray(to_source(scan.image, scan).dataobj), array)


def test_a_slice_that_does_not_say_its_thickness_counts_as_1_mm(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((5, 6))
    header.set_data_dtype("i2")
    header["pixdim"][1:4] = 0.5, 0.5, 0
    header["qform_code"], header["magic"], header["vox_offset"] = 1, b"n+1", 352
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(4) + volume((5, 6)).tobytes("F"))
    assert read_case(healthy(FileRef(tmp_path / "a.nii")), tmp_path).spacing_mm == (0.5, 0.5, 1.0)


def test_names_may_hold_spaces_dots_and_any_letters(tmp_path: Path) -> None:
    ref = write(tmp_path / "Philips_VU .PETMR_01." / "Schädel — 頭 1.nii.gz", nifti(volume()))
    assert_array_equal(read_case(healthy(ref), tmp_path).image, volume())


def test_gzip_is_known_by_content_and_not_by_name(tmp_path: Path) -> None:
    plain, packed = write(tmp_path / "a.nii", nifti(volume())), write(tmp_path / "b.nii.gz", nifti(volume()))
    plain.path.rename(tmp_path / "c.nii.gz")
    packed.path.rename(tmp_path / "d.nii")
    for name in ("c.nii.gz", "d.nii"):
        assert_array_equal(read_case(healthy(FileRef(tmp_path / name)), tmp_path).image, volume())


@pytest.mark.parametrize("name", ["T2_FLAIR/a.nii.gz", "ä b/a.nii"])
def test_a_member_of_a_zip_reads_like_a_file_and_nothing_is_unpacked(tmp_path: Path, name: str) -> None:
    inner = write(tmp_path / "elsewhere" / Path(name).name, nifti(volume()))
    root = tmp_path / "root"
    root.mkdir()
    with zipfile.ZipFile(root / "1_20253_2_0.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inner.path, name)
    scan = read_case(healthy(FileRef(root / "1_20253_2_0.zip", name)), root)
    assert_array_equal(scan.image, volume())
    assert name in scan.source
    assert [p.name for p in root.iterdir()] == ["1_20253_2_0.zip"]


def test_memory_stays_within_a_few_copies_of_the_image(tmp_path: Path) -> None:
    shape = (96, 96, 96)
    image = write(tmp_path / "a.nii.gz", nifti(volume(shape)))
    mask = write(tmp_path / "m.nii.gz", nifti((volume(shape) > 90).astype("u1")))
    tracemalloc.start()
    read_case(Case("s1", image, mask), tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 4 * np.prod(shape)


# --- masks -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(axes=st.sampled_from(ORIENTATIONS), other=st.sampled_from(ORIENTATIONS))
def test_masks_stay_on_their_voxels_even_when_stored_in_another_orientation(root: Path, axes: str, other: str) -> None:
    image = write(root / "a.nii", stored_as(nifti(volume()), axes))
    mask = write(root / "m.nii", stored_as(nifti((volume() > 80).astype("u1")), other))
    scan = read_case(Case("s1", image, mask, brain=mask), root)
    assert_array_equal(scan.lesion, volume() > 80)
    assert_array_equal(scan.brain, volume() > 80)
    assert scan.image[scan.lesion].min() > 80
    assert scan.ignore is None


def test_labels_are_sorted_into_lesion_ignored_and_background(tmp_path: Path) -> None:
    mask = (volume(seed=3) % 3).astype("f4")
    case = with_mask(tmp_path, mask, lesion=frozenset({1}), ignore=frozenset({2}))
    scan = read_case(case, tmp_path)
    assert_array_equal(scan.lesion, mask == 1)
    assert_array_equal(scan.ignore, mask == 2)


def test_labels_in_scaled_storage_are_rounded(tmp_path: Path) -> None:
    case = with_mask(tmp_path, some_mask())
    (tmp_path / "mask.nii.gz").write_bytes(edited(nifti(some_mask() * 255), scl_slope=1 / 255, scl_inter=0))
    assert_array_equal(read_case(case, tmp_path).lesion, some_mask() == 1)


def test_a_threshold_allows_any_value(tmp_path: Path) -> None:
    grey = volume(seed=4) * 2.5
    assert_array_equal(read_case(with_mask(tmp_path, grey, threshold=128.0), tmp_path).lesion, grey >= 128)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (some_mask() * 7, "labels must be among 0, 1, but the mask holds 7."),
        (np.arange(210).reshape(SHAPE).astype("i2"), "but the mask holds 2, 3, 4, 5, 6 and 203 more"),
        (some_mask("f4") * 0.5, "labels must be whole numbers, but the mask holds 0.5"),
        (np.where(some_mask() == 1, np.nan, 0).astype("f4"), "the mask holds NaN"),
    ],
)
def test_values_without_meaning_in_a_mask_are_named(tmp_path: Path, mask: np.ndarray, words: str) -> None:
    message = fault(with_mask(tmp_path, mask), tmp_path)
    assert message.startswith(str(tmp_path / "mask.nii.gz"))
    assert words in message


@pytest.mark.parametrize("part", ["lesion", "brain"])
@pytest.mark.parametrize(
    ("shape", "shift", "stretch"), [((5, 6, 8), 0, 1), ((6, 5, 7), 0, 1), (SHAPE, 0.5, 1), (SHAPE, 0, 1.01)]
)
def test_a_mask_on_another_grid_is_an_error_that_names_both_files(
    tmp_path: Path, part: str, shape: tuple[int, ...], shift: float, stretch: float
) -> None:
    affine = grid()
    affine[0, 3] += shift * SPACING[0]
    affine[:3, 2] *= stretch
    image = write(tmp_path / "image.nii", nifti(volume()))
    good = write(tmp_path / "good.nii", nifti(some_mask()))
    bad = write(tmp_path / "bad.nii", nifti(volume(shape).astype("u1") // 90, affine))
    case = Case("s1", image, bad if part == "lesion" else good, brain=bad if part == "brain" else good)
    message = fault(case, tmp_path)
    assert "image.nii" in message
    assert "bad.nii" in message
    assert "must lie on the grid of its image" in message


def test_a_flipped_mask_is_not_taken_for_one_on_the_same_grid(tmp_path: Path) -> None:
    affine = grid() @ np.diag([-1.0, 1, 1, 1])  # the same numbers, mirrored about the first plane
    assert "grid of its image" in fault(with_mask(tmp_path, some_mask(), affine), tmp_path)


def test_rounding_in_the_affine_is_no_other_grid(tmp_path: Path) -> None:
    affine = grid() * (1 + 1e-5)
    affine[3, 3] = 1
    assert_array_equal(read_case(with_mask(tmp_path, some_mask(), affine), tmp_path).lesion, some_mask() == 1)


def test_a_case_of_which_nothing_is_known_is_not_called_healthy(tmp_path: Path) -> None:
    ref = write(tmp_path / "a.nii", nifti(volume()))
    assert "no lesion mask" in fault(Case("s1", ref), tmp_path)
    assert read_case(healthy(ref), tmp_path).lesion is None


def test_an_empty_lesion_mask_is_a_finding_and_an_empty_brain_mask_a_fault(tmp_path: Path) -> None:
    image = write(tmp_path / "a.nii", nifti(volume()))
    empty = write(tmp_path / "m.nii", nifti(np.zeros(SHAPE, "u1")))
    lesion = read_case(Case("s1", image, empty), tmp_path).lesion
    assert lesion is not None
    assert not lesion.any()
    assert "brain mask of" in fault(Case("s1", image, empty, brain=empty), tmp_path)


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(CaseError("a.nii", "is empty.")))  # noqa: S301  # as it comes from a worker
    assert (str(error), error.file, error.what) == ("a.nii: is empty.", "a.nii", "is empty.")
    assert isinstance(error, DataError)
