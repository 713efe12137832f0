"""Masks of a user: which values are lesion, and which codings are refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from adbench_datasets.imaging.cases import Case, FileRef, chosen_labels
from adbench_datasets.imaging.placement import axial
from adbench_datasets.imaging.reading import CaseError, read_case
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from picture_folders import BLOB, MASK, X, Y, head, lesion_px, load, pictures, put, sick
from PIL import Image

from adbench.errors import DataError


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


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_slice_that_imagej_calls_one_image_is_no_stack(tmp_path: Path, end: str) -> None:
    said_of_it = end.join(["ImageJ=1.53t", "images=1", "loop=false", ""])
    masks_of(tmp_path, lambda p: by_tifffile(p, MASK, description=said_of_it, metadata=None), "x{}.tif")
    assert lesion_px(tmp_path) == [BLOB.sum()] * 3


def test_chosen_values_are_lesion_and_others_are_ignored(tmp_path: Path) -> None:
    masks_of(tmp_path, lambda p: iio.imwrite(p, FEW_CLASSES))
    said: list[str] = []
    test = load(tmp_path, said, lesion_values=(1, 4)).test
    assert [int(lesion.sum()) for lesion in test.lesions] == [int(np.isin(FEW_CLASSES, (1, 4)).sum())] * 3
    assert [int(ignore.sum()) for ignore in test.ignores] == [int((FEW_CLASSES == 2).sum())] * 3
    assert any("no metric counts those" in text for text in said)


@settings(max_examples=25)
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


def test_white_is_chosen_in_jpeg_as_it_is_read_there_and_no_other_value(tmp_path: Path) -> None:
    masks_of(tmp_path, lambda p: Image.fromarray(MASK).save(p, quality=95, subsampling=0), "x{}.jpg")
    said: list[str] = []
    test = load(tmp_path, said, lesion_values=(255,)).test
    assert [int(lesion.sum()) for lesion in test.lesions] == [int(BLOB.sum())] * 3
    assert test.ignores is None or not test.ignores.any()
    assert any("damaged as JPEG" in text for text in said)
    with pytest.raises(DataError, match=r"names 254, 255, but the mask is JPEG"):
        load(tmp_path, lesion_values=(254, 255))


@pytest.mark.parametrize("rest", [0, 1])
def test_tissue_or_background_beside_the_chosen_values_is_refused(tmp_path: Path, rest: int) -> None:
    """No metric would count a pixel of the brain."""
    classes = np.where(BLOB, 4, np.where(head(0) > 0, 1 + (X % 3), rest)).astype(np.uint8)
    masks_of(tmp_path, lambda p: iio.imwrite(p, classes))
    with pytest.raises(DataError, match="the mask values that are no lesion cover 9"):
        load(tmp_path, lesion_values=(4,))


LOSSLESS: dict[str, Callable[[Path, np.ndarray], object]] = {
    "imageio.png": iio.imwrite,
    "imageio.tif": iio.imwrite,
    "pillow.png": lambda path, array: Image.fromarray(array).save(path, optimize=True),
    "pillow.tif": lambda path, array: Image.fromarray(array).save(path, compression="tiff_lzw"),
    "tifffile.tif": lambda path, array: tifffile.imwrite(path, array, compression="zlib"),
}


@settings(max_examples=25)
@given(classes=st.sets(st.integers(1, 255), min_size=1, max_size=6), writer=st.sampled_from(sorted(LOSSLESS)))
@example(classes={1, 255}, writer="pillow.png")
@example(classes={1, 2, 4, 255}, writer="imageio.tif")
@example(classes={1, 254}, writer="imageio.png")
def test_no_class_of_a_lossless_mask_becomes_background(
    tmp_path_factory: pytest.TempPathFactory, classes: set[int], writer: str
) -> None:
    root = tmp_path_factory.mktemp("lossless")
    array = np.where(BLOB, np.array(sorted(classes), np.uint8)[X % len(classes)], 0).astype(np.uint8)
    image, mask = root / "image.png", root / f"mask{Path(writer).suffix}"
    put(image, sick(0))
    LOSSLESS[writer](mask, array)

    def lesion(values: tuple[int, ...] | None) -> np.ndarray:
        labels = chosen_labels(values)
        found = read_case(Case("s", FileRef(image), FileRef(mask), labels=labels), root)
        assert ("all taken as lesion" in " ".join(found.notes)) == (values is None and len(classes) > 1)
        return axial(found.lesion, 0)

    assert_array_equal(lesion(tuple(classes)), BLOB)
    if min(classes) <= 32 and any(223 <= value < 255 for value in classes):
        with suppress(CaseError):
            assert_array_equal(lesion(None), BLOB)
    else:
        assert_array_equal(lesion(None), BLOB)


def test_jpeg_within_tiff_is_thresholded_and_png_of_what_was_jpeg_is_refused(tmp_path: Path) -> None:
    wide = ((Y - 36) ** 2 + (X - 28) ** 2 < 150).astype(np.uint8) * 255
    packed = masks_of(tmp_path / "tif", lambda p: Image.fromarray(wide).save(p, compression="jpeg"), "x{}.tif")
    said: list[str] = []
    assert lesion_px(packed, said) == pytest.approx([np.count_nonzero(wide)] * 3, rel=0.06)
    assert any("damaged as JPEG" in text for text in said)

    def again(path: Path) -> None:
        jpeg = io.BytesIO()
        Image.fromarray(wide).save(jpeg, "JPEG", quality=90)
        Image.open(jpeg).save(path)

    with pytest.raises(DataError, match=r"damaged by JPEG before|grey picture"):
        load(masks_of(tmp_path / "png", again))


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


def png(path: Path, array: np.ndarray, bits: int) -> None:
    """A grey PNG of few bits by hand, as programs that save space write it."""
    shifts = np.arange(8 - bits, -1, -bits)
    packed = (array.reshape(len(array), -1, len(shifts)) << shifts).sum(axis=-1).astype(np.uint8)
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], bits, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
    chunks = (b"IHDR" + header, b"IDAT" + rows, b"IEND")
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
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
    "a stack in one page": (lambda p: by_tifffile(p, np.stack([MASK] * 3), truncate=True), "a stack in one page"),
    "a volume in one page": (
        lambda p: by_tifffile(p, np.stack([MASK] * 16), volumetric=True, tile=(16, 16, 16)),
        "a stack in one page",
    ),
    "a large stack of ImageJ": (
        lambda p: by_tifffile(p, MASK, description="ImageJ=1.53t\nimages=3\nslices=3\nloop=false\n", metadata=None),
        "a stack in one page",
    ),
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
    "2 bits": (lambda p: png(p, FEW_CLASSES.clip(0, 3), 2), "grey of 2 or 4 bits"),
    "4 bits": (lambda p: png(p, FEW_CLASSES, 4), "grey of 2 or 4 bits"),
    "animated": (
        lambda p: Image.fromarray(MASK).save(p, "PNG", save_all=True, append_images=[Image.fromarray(255 - MASK)]),
        "2 pages",
    ),
    "TIFF turned": (lambda p: by_tifffile(p, MASK, extratags=[(274, "H", 1, 3, True)]), "marked as turned"),
    "TIFF of 64 bits": (lambda p: by_tifffile(p, MASK.astype("f8")), "64 bits is not"),
    "Lab": (lambda p: Image.fromarray(np.stack([MASK] * 3, -1)).convert("LAB").save(p, "TIFF"), "mode LAB"),
    "a bitmap in name alone": (lambda p: Image.fromarray(MASK).save(p, "BMP"), "no PNG, JPEG or TIFF"),
    "of the whole head": (lambda p: by_tifffile(p, (head(0) > 0).astype("u1")), "one of the brain or of tissue"),
    "of tissue": (
        lambda p: by_tifffile(p, np.where(head(0) > 0, 1 + X % 3, 0).astype("u1")),
        "one of the brain or of tissue",
    ),
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


def test_an_outline_of_a_lesion_is_said(tmp_path: Path) -> None:
    wide = (Y - 36) ** 2 + (X - 28) ** 2
    said: list[str] = []
    masks_of(tmp_path, lambda p: iio.imwrite(p, ((wide < 100) & (wide > 70)).astype("u1") * 255))
    load(tmp_path, said)
    assert any("masks may be outlines" in text for text in said)
    said.clear()
    masks_of(tmp_path, lambda p: iio.imwrite(p, (wide < 100).astype("u1") * 255))
    load(tmp_path, said)
    assert said == []


def test_a_lesion_beside_the_head_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    beside = ((X < 6) & (Y < 6)).astype(np.uint8)
    assert lesion_px(masks_of(tmp_path, lambda p: iio.imwrite(p, beside)), said) == [36] * 3
    assert any("outside the brain or head" in text for text in said)


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
