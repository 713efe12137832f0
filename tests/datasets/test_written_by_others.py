"""Sets whose names, places, formats, types and frames are drawn: read right, or refused, never healthy by mistake."""

from __future__ import annotations

import bz2
import csv
import io
import os
import re
import string
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from adbench_datasets.folder import Folder, FolderConfig
from adbench_datasets.imaging.cases import Case, FileRef, Scan, chosen_labels
from adbench_datasets.imaging.reading import read_case
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adbench.contracts.dataset import DataRuntime
from adbench.contracts.splits import Split
from adbench.errors import DataError

Y, X = np.mgrid[:64, :64]
BLOB = (Y - 40) ** 2 + (X - 22) ** 2 < 25
HEAD = (Y - 32) ** 2 + (X - 32) ** 2 < 600
few = settings(max_examples=20)
many = settings(max_examples=200)


def picture(i: int, lesion: bool) -> np.ndarray:
    image = np.where(HEAD, 90 + 20 * np.sin(X / 5 + i) + i, 0)
    return np.where(BLOB & lesion, 240, image).astype(np.uint8)


def all_of(root: Path, **config: Any) -> Split:
    """All images of a set with their truth."""
    return Folder(FolderConfig(size=64, **config), root, DataRuntime(workers=1)).load_test()


def found_px(split: Split, subject: str) -> int:
    assert split.lesions is not None
    mine = np.array(split.subjects) == f"folder/{subject}"
    assert mine.any()
    return int(split.lesions[mine].sum())


# --- not found is not none -------------------------------------------------------------------------------------------

MASK = BLOB.astype(np.uint8) * 255
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


# --- who is who ------------------------------------------------------------------------------------------------------


def set_of(root: Path, subjects: list[str], **form: Any) -> Path:
    """Pictures with a table: two to train on, the others to test on."""
    rows = []
    for i, subject in enumerate(subjects):
        lesion = "" if i < 3 else f"m{i}.png"
        Image.fromarray(picture(i, i >= 3)).save(root / f"{i}.png")
        if lesion:
            Image.fromarray(MASK).save(root / lesion)
        rows.append([f"{i}.png", lesion, "", subject, "train" if i < 2 else "val" if i < 3 else "test"])
    text = io.StringIO(newline="")
    writer = csv.writer(text, **form)
    writer.writerows([["image", "lesion", "brain", "subject", "split"], *rows])
    (root / "cases.csv").write_bytes(text.getvalue().encode())
    return root


names = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=6)
SPELLINGS: list[Callable[[str], str]] = [
    lambda name: unicodedata.normalize("NFD", name + "é"),
    lambda name: (name + "é").upper(),
    lambda name: f"  {name}é ",
    lambda name: f"{name}É",
    lambda name: f"{name}é".translate({ord(c): ord(c) + 0xFEE0 for c in string.ascii_letters + string.digits}),
]


@few
@given(name=names, spell=st.sampled_from(SPELLINGS))
def test_a_subject_under_two_spellings_in_train_and_test_is_found(name: str, spell: Callable[[str], str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = set_of(Path(folder), [unicodedata.normalize("NFC", name + "é"), "b", "c", spell(name), "e"])
        with pytest.raises(DataError, match=r"one spelling|belongs to one split|Each examination"):
            Folder(FolderConfig(size=64), root, DataRuntime(workers=1)).load()


@few
@given(
    names=st.tuples(names, names),
    space=st.text(st.sampled_from(" \u00a0\u2003\u2009\u3000"), min_size=1, max_size=3),
)
def test_spaces_within_a_name_count_as_one(names: tuple[str, str], space: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = set_of(Path(folder), [" ".join(names) + "é", "b", "c", space.join(names) + "É", "e"])
        with pytest.raises(DataError, match="one spelling"):
            Folder(FolderConfig(size=64), root, DataRuntime(workers=1)).load()


@few
@given(
    name=names,
    character=st.sampled_from(
        "\u200b\u200c\u200d\u2060\ufeff\u00ad\u202e\u0007\u0085"
        "\ufe0f\ufe00\U000e0100\u034f\u115f\u3164\uffa0\u17b4\u180b\u2800\U000e0041"
    ),
    at=st.integers(1, 5),
)
def test_a_character_that_no_screen_shows_is_refused_wherever_it_stands(name: str, character: str, at: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hidden = f"{name[:at]}{character}{name[at:]}q"
        root = set_of(Path(folder), ["a", "b", "c", hidden, "e"])
        with pytest.raises(DataError) as caught:
            Folder(FolderConfig(size=64), root, DataRuntime(workers=1)).load()
        assert str(caught.value).isprintable()


@few
@given(
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    lineterminator=st.sampled_from(["\n", "\r\n"]),
    blank_lines=st.integers(0, 3),
    marked=st.booleans(),
)
def test_a_table_means_the_same_however_a_program_writes_it(blank_lines: int, marked: bool, **form: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = set_of(Path(folder), ["a", "b", "c", "d, e", "Zoé"], **form)
        text = (root / "cases.csv").read_bytes() + blank_lines * form["lineterminator"].encode()
        (root / "cases.csv").write_bytes((b"\xef\xbb\xbf" if marked else b"") + text)
        split = Folder(FolderConfig(size=64), root, DataRuntime(workers=1)).load().test
    assert [found_px(split, subject) for subject in ("d, e", "Zoé")] == [BLOB.sum()] * 2


@settings(max_examples=60)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.lists(st.text(max_size=8), min_size=5, max_size=5).map(
            lambda row: f"image,lesion,brain,subject,split\n{','.join(row)}\n".encode("utf-8", "surrogatepass")
        ),
    )
)
def test_no_table_whatsoever_gives_another_kind_of_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cases.csv").write_bytes(content)
        with pytest.raises(DataError) as caught:
            all_of(Path(folder))
        str(caught.value).encode()


@pytest.mark.parametrize("other", [".tif", ".nii.gz"])
def test_the_same_pixels_by_two_programs_are_one_scan(tmp_path: Path, other: str) -> None:
    root = set_of(tmp_path, ["a", "b", "c", "d", "e"])
    same = np.asarray(Image.open(root / "3.png"))
    if other == ".nii.gz":
        save(root / "4.nii.gz", same.T[::-1, ::-1, None], np.eye(4))
        save(root / "m4.nii.gz", MASK.T[::-1, ::-1, None], np.eye(4))
    else:
        tifffile.imwrite(root / "4.tif", same)
        tifffile.imwrite(root / "m4.tif", MASK)
    table = (root / "cases.csv").read_text(encoding="utf-8").replace("4.png,m4.png", f"4{other},m4{other}")
    (root / "cases.csv").write_text(table, encoding="utf-8")
    with pytest.raises(DataError, match="hold the same pixels"):
        all_of(root)


@settings(max_examples=10, deadline=None)
@given(which=st.integers(0, 4), at=st.tuples(st.integers(20, 44), st.integers(20, 44)), by=st.integers(1, 5))
def test_other_pixels_under_the_same_name_size_and_times_are_another_set(
    which: int, at: tuple[int, int], by: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = set_of(Path(folder), ["a", "b", "c", "d", "e"])
        for i in range(5):
            tifffile.imwrite(root / f"{i}.tif", np.asarray(Image.open(root / f"{i}.png")))
        table = re.sub(r"\n(\d)\.png", r"\n\1.tif", (root / "cases.csv").read_text(encoding="utf-8"))
        (root / "cases.csv").write_text(table, encoding="utf-8")

        def manifest() -> dict[str, dict[str, str]]:
            runtime = DataRuntime(workers=1, cache=root / "cache")
            return Folder(FolderConfig(size=64), root, runtime).load().manifest()

        before, file = manifest(), root / f"{which}.tif"
        pixels, known = tifffile.imread(file), file.stat()
        pixels[at] -= by
        tifffile.imwrite(file, pixels)
        os.utime(file, ns=(known.st_atime_ns, known.st_mtime_ns))
        assert file.stat().st_size == known.st_size
        assert manifest() != before
