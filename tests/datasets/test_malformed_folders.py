"""A user's own files, written by other programs and named in other ways: right, or refused with a reason."""

from __future__ import annotations

import bz2
import os
import struct
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
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError

Y, X = np.mgrid[:64, :64]
BLOB = (Y - 40) ** 2 + (X - 22) ** 2 < 25
HEADER = "image,lesion,brain,subject,split"


def head(i: int) -> np.ndarray:
    return np.where((Y - 32) ** 2 + (X - 32) ** 2 < 600, 90 + 20 * np.sin(X / 5 + i) + i, 0).astype(np.uint8)


def sick(i: int) -> np.ndarray:
    image = head(9 + i)
    image[BLOB] = 240
    return image


def put(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, array)


def pictures(root: Path) -> Path:
    for i in range(5):
        put(root / f"train/t{i}.png", head(i))
    for i in range(3):
        put(root / f"test/images/x{i}.png", sick(i))
        put(root / f"test/lesions/x{i}.png", BLOB.astype(np.uint8) * 255)
    return root


def load(root: Path, said: list[str] | None = None, **config: Any) -> Any:
    notify = (said if said is not None else []).append
    return Folder(FolderConfig(size=64, **config), root, DataRuntime(workers=1, notify=notify)).load()


def lesion_px(root: Path, said: list[str] | None = None, **config: Any) -> list[int]:
    lesions = load(root, said, **config).test.lesions
    return [int(lesion.sum()) for lesion in lesions]


# --- masks that are not found ----------------------------------------------------------------------------------------


def replaced(root: Path, name: str, write: Callable[[Path], object]) -> None:
    """One mask under another name."""
    (root / "test/lesions/x1.png").unlink()
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    write(root / name)


MASK = BLOB.astype(np.uint8) * 255
NOT_FOUND: dict[str, tuple[Callable[[Path], object], str]] = {
    "bmp": (lambda r: replaced(r, "test/lesions/x1.bmp", lambda p: iio.imwrite(p, MASK)), "x1.bmp is not"),
    "gif": (lambda r: replaced(r, "test/lesions/x1.gif", lambda p: iio.imwrite(p, MASK)), "x1.gif is not"),
    "npy": (lambda r: replaced(r, "test/lesions/x1.npy", lambda p: np.save(p, MASK)), "x1.npy is not"),
    "nii.bz2": (
        lambda r: replaced(r, "test/lesions/x1.nii.bz2", lambda p: p.write_bytes(bz2.compress(b"x"))),
        "x1.nii.bz2 is not",
    ),
    "mha": (
        lambda r: replaced(r, "test/lesions/x1.mha", lambda p: sitk.WriteImage(sitk.GetImageFromArray(MASK), str(p))),
        "x1.mha is not",
    ),
    "nrrd": (
        lambda r: replaced(r, "test/lesions/x1.nrrd", lambda p: sitk.WriteImage(sitk.GetImageFromArray(MASK), str(p))),
        "x1.nrrd is not",
    ),
    "sub-folder": (
        lambda r: replaced(r, "test/lesions/defect/x1.png", lambda p: iio.imwrite(p, MASK)),
        "folder defect",
    ),
    "_label": (lambda r: replaced(r, "test/lesions/x1_label.png", lambda p: iio.imwrite(p, MASK)), "first 'x1_label'"),
    "upper case": (lambda r: replaced(r, "test/lesions/X1.PNG", lambda p: Image.fromarray(MASK).save(p)), "first 'X1'"),
    "missing": (lambda r: (r / "test/lesions/x1.png").unlink(), "not found is not none, but 1 images"),
    "empty folder": (lambda r: [p.unlink() for p in (r / "test/lesions").iterdir()], "but 3 images have no mask"),
    "all zero": (lambda r: put(r / "test/lesions/x1.png", 0 * MASK), "the mask is all zero"),
    "training image as bmp": (lambda r: (r / "train/t1.png").rename(r / "train/t1.bmp"), "t1.bmp is not"),
    "training images in a folder": (lambda r: put(r / "train/more/t9.png", head(30)), "the folder more"),
    "test image as dcm": (lambda r: (r / "test/images/x1.png").rename(r / "test/images/x1.dcm"), "x1.dcm is not"),
    "two masks of a name": (lambda r: put(r / "test/lesions/x1.tif", MASK), "both 'x1'"),
}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_a_mask_or_image_that_is_not_found_is_named_by_check_and_run(tmp_path: Path, name: str) -> None:
    change, words = NOT_FOUND[name]
    change(pictures(tmp_path))
    with pytest.raises(DataError, match=words):
        load(tmp_path)
    data = Folder(FolderConfig(size=64), tmp_path, DataRuntime(workers=1))
    try:
        stopping = [problem.what for problem in data.inspect().problems if not problem.skipped]
    except DataError as error:
        stopping = [str(error)]
    assert words in " ".join(stopping)


def test_an_image_without_a_mask_is_healthy_or_skipped_only_where_the_user_says_so(tmp_path: Path) -> None:
    put(pictures(tmp_path) / "test/lesions/x1.png", 0 * MASK)
    (tmp_path / "test/lesions/x2.png").unlink()
    assert sorted(lesion_px(tmp_path, unmatched="healthy")) == [0, 0, BLOB.sum()]
    assert lesion_px(tmp_path, unmatched="skip", max_skipped_fraction=0.5) == [BLOB.sum()]


def test_what_lies_beside_images_is_no_image(tmp_path: Path) -> None:
    pictures(tmp_path)
    for name in ("README", "notes.txt", "x1.json", ".DS_Store", "sizes.xlsx"):
        (tmp_path / "test/images" / name).write_text("")
    (tmp_path / "test/lesions/empty").mkdir()
    assert len(lesion_px(tmp_path)) == 3


# --- BIDS ------------------------------------------------------------------------------------------------------------


def nifti(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([6.0, 6, 6, 1])), path)


def bids(root: Path) -> Path:
    x, y, z = np.mgrid[:32, :32, :6]
    lesion = ((x >= 8) & (x < 13) & (y >= 14) & (y < 19) & (z >= 2) & (z < 4)).astype("u1")
    for i in range(4):
        name = f"sub-{i:02d}"
        image = np.where((x - 16) ** 2 + (y - 16) ** 2 < 150, 100 + i + 9 * np.sin(x / 3), 0).astype("f4")
        image[lesion > 0] = 250
        nifti(root / name / "anat" / f"{name}_FLAIR.nii.gz", image)
        nifti(root / "derivatives" / name / "anat" / f"{name}_label-lesion_mask.nii.gz", lesion)
    return root


def moved(root: Path, old: str, new: str) -> None:
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    (root / old).rename(root / new)


DERIVED = "derivatives/sub-00/anat/sub-00_label-lesion_mask.nii.gz"
RAW = "sub-00/anat/sub-00_FLAIR.nii.gz"
BIDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "image in a session, mask not": (
        lambda r: moved(r, RAW, "sub-00/ses-1/anat/sub-00_ses-1_FLAIR.nii.gz"),
        "no image is there",
    ),
    "mask of another session": (
        lambda r: moved(r, DERIVED, "derivatives/sub-00/ses-2/anat/sub-00_ses-2_label-lesion_mask.nii.gz"),
        "no image is there",
    ),
    "mask of another subject": (
        lambda r: moved(r, DERIVED, "derivatives/sub-77/anat/sub-77_label-lesion_mask.nii.gz"),
        "no image is there",
    ),
    "mask packed otherwise": (lambda r: moved(r, DERIVED, DERIVED.replace(".gz", ".bz2")), "rename it"),
    "mask of tissue": (
        lambda r: moved(r, DERIVED, DERIVED.replace("label-lesion_mask", "dseg")),
        "not found is not none, but 1",
    ),
    "mask of grey matter": (
        lambda r: moved(r, DERIVED, DERIVED.replace("label-lesion", "label-GM")),
        "not found is not none, but 1",
    ),
    "two acquisitions": (
        lambda r: nifti(r / "sub-00/anat/sub-00_acq-3d_FLAIR.nii.gz", np.ones((4, 4, 4), "u1")),
        "choose by --set data.entity",
    ),
    "image packed otherwise": (lambda r: moved(r, RAW, RAW.replace(".gz", ".bz2")), "is not: convert it"),
}


@pytest.mark.parametrize("name", BIDS)
def test_a_bids_set_whose_masks_or_images_are_not_clear_is_refused(tmp_path: Path, name: str) -> None:
    change, words = BIDS[name]
    change(bids(tmp_path))
    with pytest.raises(DataError, match=words):
        Folder(FolderConfig(size=64), tmp_path, DataRuntime(workers=1)).load_test()


def test_one_of_several_acquisitions_is_chosen_by_name_and_a_dseg_may_be_named_a_lesion(tmp_path: Path) -> None:
    bids(tmp_path)
    moved(tmp_path, DERIVED, DERIVED.replace("label-lesion_mask", "label-lesion_dseg"))
    for i in range(4):
        place = tmp_path / f"sub-0{i}" / "anat"
        (place / f"sub-0{i}_FLAIR.nii.gz").rename(place / f"sub-0{i}_acq-3d_FLAIR.nii.gz")
        nifti(place / f"sub-0{i}_acq-2d_FLAIR.nii.gz", np.ones((4, 4, 4), "u1"))
    data = Folder(FolderConfig(size=64, entity="acq-3d"), tmp_path, DataRuntime(workers=1))
    assert len(set(data.load_test().subjects)) == 4


# --- values of masks and pictures ------------------------------------------------------------------------------------


def by_tifffile(path: Path, array: np.ndarray, **options: Any) -> None:
    tifffile.imwrite(path, array, **options)


def masks_of(root: Path, write: Callable[[Path], object], name: str = "x{}.png") -> Path:
    pictures(root)
    for i in range(3):
        (root / f"test/lesions/x{i}.png").unlink()
        write(root / "test/lesions" / name.format(i))
    return root


CLASSES = np.where(BLOB, 85 + 85 * (X % 3), 0).astype(np.uint8)
FEW_CLASSES = np.where(BLOB, np.array([1, 2, 4])[X % 3], 0).astype(np.uint8)


@pytest.mark.parametrize("coding", ["255", "1", "85 170 255", "1 2 4", "65535", "rgb", "bool", "white is zero"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_value_of_a_mask_but_0_is_lesion(tmp_path: Path, coding: str, suffix: str) -> None:
    array: np.ndarray = {"255": MASK, "1": MASK // 255, "85 170 255": CLASSES, "1 2 4": FEW_CLASSES}.get(coding, MASK)
    if coding == "65535":
        array = MASK.astype("u2") * 257
    if coding == "rgb":
        array = np.stack([MASK] * 3, axis=-1)

    def write(path: Path) -> None:
        if suffix == ".tif" and coding == "white is zero":
            by_tifffile(path, 255 - array, photometric="miniswhite")
        elif coding == "bool":
            Image.fromarray(BLOB).save(path)
        else:
            iio.imwrite(path, array)

    said: list[str] = []
    assert lesion_px(masks_of(tmp_path, write, f"x{{}}{suffix}"), said) == [BLOB.sum()] * 3
    assert any("data.lesion_values" in text for text in said) == (coding in ("85 170 255", "1 2 4"))


def test_chosen_values_are_lesion_and_others_are_ignored(tmp_path: Path) -> None:
    masks_of(tmp_path, lambda p: iio.imwrite(p, FEW_CLASSES))
    said: list[str] = []
    test = load(tmp_path, said, lesion_values=(1, 4)).test
    assert [int(lesion.sum()) for lesion in test.lesions] == [int(np.isin(FEW_CLASSES, (1, 4)).sum())] * 3
    assert [int(ignore.sum()) for ignore in test.ignores] == [int((FEW_CLASSES == 2).sum())] * 3
    assert any("no metric counts those" in text for text in said)


@settings(max_examples=25, deadline=None)
@given(quality=st.integers(60, 100))
def test_a_mask_damaged_by_jpeg_is_thresholded_and_that_is_said(
    tmp_path_factory: pytest.TempPathFactory, quality: int
) -> None:
    wide = ((Y - 36) ** 2 + (X - 28) ** 2 < 150).astype(np.uint8) * 255
    root = tmp_path_factory.mktemp("jpeg")
    masks_of(root, lambda p: Image.fromarray(wide).save(p, quality=quality, subsampling=0), "x{}.jpg")
    said: list[str] = []
    sizes = lesion_px(root, said)
    assert sizes == pytest.approx([np.count_nonzero(wide)] * 3, rel=0.06)
    assert any("damaged as JPEG" in text for text in said)


def tiff(path: Path, array: np.ndarray, photometric: int, sample_format: int) -> None:
    """A TIFF by hand: libraries do not write all that the format allows."""
    data = array.tobytes()
    h, w = array.shape
    tags = [(256, w), (257, h), (258, array.itemsize * 8), (259, 1), (262, photometric), (273, 8), (277, 1), (278, h)]
    tags += [(279, len(data)), (339, sample_format)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


PICTURES: dict[str, tuple[Callable[[Path], object], str]] = {
    "16 bit, 0 is white": (lambda p: tiff(p, (65535 - MASK.astype("<u2") * 257), 0, 1), "0 is white"),
    "float, 0 is white": (lambda p: tiff(p, (1 - BLOB).astype("<f4"), 0, 3), "0 is white"),
    "32 bit, 0 is white": (lambda p: tiff(p, (1 - BLOB).astype("<u4"), 0, 1), "cannot be read"),
    "palette": (lambda p: Image.fromarray(MASK).convert("P").save(p, format="PNG"), "a palette"),
    "palette of TIFF": (
        lambda p: by_tifffile(p, BLOB.astype("u1"), photometric="palette", colormap=np.zeros((3, 256), "u2")),
        "a palette",
    ),
    "transparent": (
        lambda p: iio.imwrite(p, np.stack([MASK, MASK, MASK, MASK // 2], axis=-1), extension=".png"),
        "must be opaque",
    ),
    "one value transparent": (lambda p: Image.fromarray(MASK).save(p, format="PNG", transparency=0), "is transparent"),
    "colours": (
        lambda p: iio.imwrite(p, np.stack([MASK, 0 * MASK, MASK], axis=-1), extension=".png"),
        "channels differ",
    ),
    "CMYK": (lambda p: Image.fromarray(MASK).convert("CMYK").save(p, format="JPEG"), "mode CMYK"),
    "16 bit colour": (
        lambda p: by_tifffile(p, np.stack([MASK.astype("u2")] * 3, -1), photometric="rgb"),
        "16 bits|mode",
    ),
    "two pages": (lambda p: by_tifffile(p, np.stack([MASK, MASK]), photometric="minisblack"), "2 pages"),
    "turned": (
        lambda p: Image.fromarray(MASK).save(
            p, format="PNG", exif=b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
        ),
        "marked as turned",
    ),
    "grey picture": (lambda p: iio.imwrite(p, (X * 4).astype("u1"), extension=".png"), "a grey picture"),
    "soft edges": (
        lambda p: iio.imwrite(p, np.clip(255 - 12 * np.hypot(Y - 40, X - 22), 0, 255).astype("u1"), extension=".png"),
        "a grey picture",
    ),
    "probabilities": (lambda p: by_tifffile(p, (BLOB * 0.7).astype("f4")), "labels must be whole numbers"),
    "classes in JPEG": (lambda p: Image.fromarray(CLASSES).save(p, format="JPEG", quality=70), "grey picture"),
    "many classes": (lambda p: by_tifffile(p, (1000 + 40 * X).astype("u2")), "a few classes"),
    "another size": (lambda p: iio.imwrite(p, MASK[:32], extension=".png"), "must have one size"),
    "no picture": (lambda p: p.write_bytes(b"<html>404</html>"), "cannot be read|cannot identify"),
    "empty": (lambda p: p.write_bytes(b""), "the file is empty"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_mask_whose_values_are_not_clear_is_refused(tmp_path: Path, name: str) -> None:
    write, words = PICTURES[name]
    masks_of(tmp_path, write, "x{}.tif")
    with pytest.raises(DataError, match=words):
        load(tmp_path)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pictures_of_8_and_16_bits_give_the_same_images(tmp_path: Path, dtype: str, suffix: str) -> None:
    images = []
    for coded, scale in ((dtype, 257 if dtype == "u2" else 1), ("u1", 1)):
        root = tmp_path / str(len(images))
        pictures(root)
        for i in range(5):
            (root / f"train/t{i}.png").unlink()
            iio.imwrite(root / f"train/t{i}{suffix}", head(i).astype(coded) * np.array(scale, coded))
        images.append(load(root).train.images)
    assert np.abs(images[0] - images[1]).max() < 1e-5


# --- identity --------------------------------------------------------------------------------------------------------


def rows(**subjects: str) -> list[str]:
    train = [f"train/t{i}.png,,,{subjects.get(f't{i}', f't{i}')},train" for i in range(5)]
    test = [f"test/images/x{i}.png,test/lesions/x{i}.png,,{subjects.get(f'x{i}', f'x{i}')},test" for i in range(3)]
    return [*train, *test]


def table(root: Path, lines: list[str], header: str = HEADER, encoding: str = "utf-8") -> Path:
    (pictures(root) / "cases.csv").write_bytes("\n".join([header, *lines, ""]).encode(encoding))
    return root


SPELT = unicodedata.normalize("NFD", "Zoé")
TABLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "second lesion column": (
        lambda r: table(r, [row + "," for row in rows()], HEADER + ",lesion"),
        "'lesion' is there twice",
    ),
    "second column in capitals": (lambda r: table(r, [row + "," for row in rows()], HEADER + ",Lesion"), "there twice"),
    "a row without its last cells": (
        lambda r: table(r, [row.rpartition(",")[0] for row in rows()[:1]] + rows()[1:]),
        "row 2 has 4 cells for 5 columns: add the missing ones",
    ),
    "one file twice": (
        lambda r: table(r, [*rows(), "./test/images/x0.png,test/lesions/x0.png,,x0,test"]),
        "x0.png.* hold the same pixels",
    ),
    "one file of two subjects": (
        lambda r: table(r, [*rows(), "test/images/x0.png,test/lesions/x1.png,,y0,test"]),
        "hold the same pixels|Each examination",
    ),
    "a copy": (
        lambda r: (table(r, [*rows(), "copy.tif,test/lesions/x1.png,,y0,test"]), iio.imwrite(r / "copy.tif", sick(0))),
        "copy.tif.* hold the same pixels|x0.png and copy.tif",
    ),
    "a link": (
        lambda r: (
            table(r, [*rows(), "link.png,test/lesions/x1.png,,y0,test"]),
            (r / "link.png").symlink_to(r / "test/images/x0.png"),
        ),
        "hold the same pixels",
    ),
    "accents in two ways": (lambda r: table(r, rows(t0="Zoé", x0=SPELT)), "has one spelling"),
    "case": (lambda r: table(r, rows(t0="Anna", x0="ANNA")), "has one spelling"),
    "sharp s": (lambda r: table(r, rows(t0="Weiß", x0="WEISS")), "has one spelling"),
    "a zero-width character": (lambda r: table(r, rows(x0="x\u200b0")), r"has '\\u200b'"),
    "a soft hyphen": (lambda r: table(r, rows(x0="x\u00ad0")), "visible characters alone"),
    "a mark of direction": (lambda r: table(r, rows(x0="\u202ex0")), "visible characters alone"),
    "UTF-16": (lambda r: table(r, rows(), encoding="utf-16"), "must be UTF-8"),
    "UTF-16 without a mark": (lambda r: table(r, rows(), encoding="utf-16-le"), "must be UTF-8"),
    "Latin-1": (lambda r: table(r, rows(x0="é"), encoding="latin-1"), "must be UTF-8"),
    "unquoted comma": (lambda r: table(r, rows(x0="Doe, J")), "6 cells for 5 columns"),
    "no header": (lambda r: table(r, rows()[1:], rows()[0]), "lacks image"),
    "NaN for a mask": (
        lambda r: table(r, [row.replace("test/lesions/x0.png", "NaN") for row in rows()]),
        "names 'NaN'",
    ),
    "no subject": (lambda r: table(r, rows(x0="")), "subject may not be empty"),
    "no header at all": (lambda r: table(r, [], ""), "lacks image"),
    "a mask that is all zero": (
        lambda r: (table(r, rows()), put(r / "test/lesions/x0.png", 0 * MASK)),
        "the mask is all zero",
    ),
    "name of a file not UTF-8": (
        lambda r: (os.rename(pictures(r) / "train/t0.png", os.fsencode(r / "train") + b"/caf\xe9.png"),),
        "must be UTF-8",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_or_name_that_is_not_clear_is_refused(tmp_path: Path, name: str) -> None:
    make, words = TABLES[name]
    make(tmp_path)
    with pytest.raises(DataError, match=words) as caught:
        load(tmp_path)
    str(caught.value).encode()  # it can be printed


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_tables_of_any_delimiter_with_quotes_and_other_columns_are_read(
    tmp_path: Path, delimiter: str, encoding: str, newline: str
) -> None:
    pictures(tmp_path)
    lines = [*((HEADER + ",note").split(",") for _ in range(1))]
    lines += [[*row.split(","), f'"a{delimiter} quoted{newline}note"'] for row in rows()]
    (tmp_path / "cases.csv").write_bytes(newline.join(delimiter.join(line) for line in lines).encode(encoding))
    said: list[str] = []
    assert lesion_px(tmp_path, said) == [BLOB.sum()] * 3
    assert any("columns note are not read" in text for text in said)
