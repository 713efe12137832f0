"""Slices as pictures: their full range, front and left where they belong, and one error for each that is faulty."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from adbench_datasets.imaging.cases import Case, FileRef, Labels
from adbench_datasets.imaging.reading import CaseError, read_case, to_source
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image
from scan_files import healthy

ROWS, COLUMNS = 9, 7


def pixels(dtype: str = "u1", seed: int = 0, high: int = 250) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, high, (ROWS, COLUMNS)).astype(dtype)


def save(path: Path, array: NDArray[Any] | Image.Image, **options: Any) -> FileRef:
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    picture.save(path, **options)
    return FileRef(path)


def fault(case: Case, root: Path, words: str, **options: Any) -> CaseError:
    with pytest.raises(CaseError) as caught:
        read_case(case, root, **options)
    assert words in str(caught.value)
    return caught.value


def upright(canonical: NDArray[Any]) -> NDArray[Any]:
    """An axial slice (X, Y) as a picture: the front at the top, the patient's right on the left."""
    return np.flip(canonical, (0, 1)).T


@settings(max_examples=30, deadline=None)
@given(
    dtype=st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8"]),
    endian=st.sampled_from("<>"),
    compression=st.sampled_from([None, "zlib"]),
    alpha=st.booleans(),
    seed=st.integers(0, 9),
)
@example(dtype="i1", endian="<", compression=None, alpha=False, seed=0)
@example(dtype="u4", endian="<", compression=None, alpha=False, seed=0)
@example(dtype="u1", endian="<", compression=None, alpha=True, seed=0)
def test_a_tiff_reads_as_tifffile_wrote_it_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, endian: str, compression: str | None, alpha: bool, seed: int
) -> None:
    root, kind = tmp_path_factory.mktemp("tiff"), np.dtype(dtype)
    low, high = (-99, 99) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
    array = np.random.default_rng(seed).integers(low, high, (ROWS, COLUMNS), np.int64 if kind.kind == "f" else kind)
    array = array.astype(kind)
    options: dict[str, Any] = {"byteorder": endian, "photometric": "minisblack", "compression": compression}
    stored = np.stack([array, np.full_like(array, high)], axis=-1) if alpha else array
    if alpha:
        options |= {"extrasamples": ["unassalpha"], "planarconfig": "contig"}
    tifffile.imwrite(root / "a.tif", stored, **options)
    case = healthy(FileRef(root / "a.tif"))
    if dtype in ("i8", "f2", "f8") or (dtype, endian) == ("u4", ">") or (alpha and dtype != "u1"):
        fault(case, root, "a.tif: cannot be read")
    elif endian == ">" and compression and dtype in ("i2", "i4", "f4"):
        fault(case, root, "big-endian TIFF of this depth cannot be read")
    else:
        assert_array_equal(upright(read_case(case, root).image[..., 0]), array.astype(np.float32))


@pytest.mark.parametrize("name", ["a bool of tifffile", "two channels of tifffile", "two channels of SimpleITK"])
def test_a_picture_that_readers_take_for_different_things_is_refused(tmp_path: Path, name: str) -> None:
    two = np.stack([pixels(), pixels(seed=1)], axis=-1)
    path, words = tmp_path / "a.tif", "0 is white"
    if name == "a bool of tifffile":
        tifffile.imwrite(path, pixels() > 99)
    elif name == "two channels of tifffile":
        tifffile.imwrite(path, two, photometric="minisblack", planarconfig="contig")
        words = "2 channels are stored, of which 1 can be read"
    else:
        path, words = tmp_path / "a.png", "must be opaque"
        sitk.WriteImage(sitk.GetImageFromArray(two, isVector=True), str(path))
    for channel in (None, 0):
        fault(healthy(FileRef(path)), tmp_path, words, channel=channel)


def test_pictures_become_a_volume_from_the_feet_up_and_go_back(tmp_path: Path) -> None:
    slices = [pixels(seed=k) for k in range(4)]
    refs = [save(tmp_path / f"{k}.png", s) for k, s in enumerate(slices)]
    masks: list[FileRef | None] = [None, save(tmp_path / "m1.png", (slices[1] > 99) * np.uint8(255)), None, None]
    case = Case("s1", refs, masks, labels=Labels(frozenset({255})), spacing_mm=(0.5, 0.6, 5.0))
    scan = read_case(case, tmp_path)
    assert scan.image.shape == (COLUMNS, ROWS, 4)
    for k, s in enumerate(slices):
        assert_array_equal(upright(scan.image[..., k]), s)
    assert scan.lesion is not None
    assert_array_equal(upright(scan.lesion[..., 1]), slices[1] > 99)
    assert not scan.lesion[..., [0, 2, 3]].any()
    assert scan.spacing_mm == (0.5, 0.6, 5.0)
    assert nib.aff2axcodes(scan.affine) == ("R", "A", "S")
    assert scan.source == str(tmp_path / "0.png")
    back = to_source(scan.image, scan)
    assert_array_equal(np.asarray(back.dataobj), np.stack([s.T for s in slices], axis=-1))


def test_one_picture_is_a_scan_of_one_slice_of_unknown_spacing(tmp_path: Path) -> None:
    image, mask = save(tmp_path / "a.PNG", pixels()), save(tmp_path / "m.tiff", pixels() > 99)
    scan = read_case(Case("s1", image, mask, brain=mask, labels=Labels(threshold=128)), tmp_path)
    assert scan.spacing_mm is None
    assert_array_equal(upright(scan.lesion[..., 0]), pixels() > 99)  # type: ignore[index]
    assert_array_equal(scan.brain, scan.lesion)


def test_a_mask_that_is_nowhere_white_is_refused_and_a_black_one_is_free_of_lesions(tmp_path: Path) -> None:
    image, white = save(tmp_path / "a.png", pixels()), np.where(pixels() > 99, 255, 0).astype("u1")
    black, dark = np.zeros_like(white), (white // 255).astype("u1")
    refs = {name: save(tmp_path / f"{name}.png", mask) for name, mask in (("w", white), ("b", black), ("d", dark))}

    def case(*masks: str) -> Case:
        return Case("s1", [image] * len(masks), [refs[name] for name in masks], labels=Labels(threshold=128))

    lesion = read_case(case("w", "b"), tmp_path).lesion
    assert_array_equal(lesion.any((0, 1)), [True, False])  # type: ignore[union-attr]
    fault(case("d"), tmp_path, "in white (255), but the brightest value of one is 1. Save it with 0 and 255")
    fault(case("w", "d"), tmp_path, "the brightest value of one is 1")


@pytest.mark.parametrize(("suffix", "dark", "bright"), [("png", 0, 1), ("tif", 0, 255), ("png", 0, 3), ("jpg", 0, 255)])
def test_a_brain_that_is_a_picture_is_read_as_a_lesion_is(tmp_path: Path, suffix: str, dark: int, bright: int) -> None:
    brain = np.kron(pixels() > 99, np.ones((8, 8), bool))  # in blocks, as JPEG keeps them
    image = save(tmp_path / "a.png", np.kron(pixels(), np.ones((8, 8), "u1")))
    mask = save(tmp_path / f"b.{suffix}", np.where(brain, bright, dark).astype("u1"))
    assert_array_equal(upright(read_case(Case("s1", image, None, True, brain=mask), tmp_path).brain[..., 0]), brain)  # type: ignore[index]


def test_a_brain_that_was_jpeg_before_or_is_grey_is_refused(tmp_path: Path) -> None:
    image = save(tmp_path / "a.png", pixels())
    for values in (np.select([pixels() > 99, pixels() > 50], [250, 3]).astype("u1"), pixels()):
        with pytest.raises(CaseError, match="grey picture"):
            read_case(Case("s1", image, None, True, brain=save(tmp_path / "b.png", values)), tmp_path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_whole_numbers_keep_their_range(tmp_path: Path, suffix: str, dtype: str) -> None:
    array = pixels(dtype, high=np.iinfo(dtype).max + 1)
    array[0, :2] = 0, np.iinfo(dtype).max
    scan = read_case(healthy([save(tmp_path / f"a.{suffix}", array)]), tmp_path)
    assert_array_equal(upright(scan.image[..., 0]), array)


@pytest.mark.parametrize("dtype", ["i4", "f4"])
def test_tiff_holds_negative_numbers_and_fractions(tmp_path: Path, dtype: str) -> None:
    array = ((pixels("f4") - 1000) * 1.5).astype(dtype)
    scan = read_case(healthy([save(tmp_path / "a.tif", array)]), tmp_path)
    assert_array_equal(upright(scan.image[..., 0]), array)


@pytest.mark.parametrize("compression", [None, "tiff_deflate", "tiff_lzw"])
def test_big_endian_tiff_reads_like_any_other(tmp_path: Path, compression: str | None) -> None:
    array = pixels("u2", high=60000)
    picture = Image.fromarray(array.astype(">u2")) if compression is None else Image.fromarray(array)
    scan = read_case(healthy([save(tmp_path / "a.tif", picture, compression=compression)]), tmp_path)
    assert_array_equal(upright(scan.image[..., 0]), array)


def test_pictures_of_one_bit_are_black_and_white(tmp_path: Path) -> None:
    scan = read_case(healthy([save(tmp_path / "a.png", pixels() > 99)]), tmp_path)
    assert_array_equal(upright(scan.image[..., 0]), 255 * (pixels() > 99))


def test_colour_is_read_where_channels_agree_or_one_is_chosen(tmp_path: Path) -> None:
    grey, other = pixels(), pixels(seed=1)
    same = save(tmp_path / "same.tif", np.dstack([grey, grey, grey]))
    opaque = save(tmp_path / "opaque.png", np.dstack([grey, grey, grey, np.full_like(grey, 255)]))
    differ = save(tmp_path / "differ.tif", np.dstack([other, grey, other]))
    for ref, channel in ((same, None), (opaque, None), (differ, 1), (opaque, 2)):
        scan = read_case(healthy([ref]), tmp_path, channel=channel)
        assert_array_equal(upright(scan.image[..., 0]), grey)
    fault(healthy([differ]), tmp_path, "the 3 channels differ, and none is chosen. Set data.channel")
    fault(healthy([differ]), tmp_path, "the channels of this picture are 0 to 2", channel=3)
    fault(healthy([save(tmp_path / "l.png", grey)]), tmp_path, "the channels of this picture are 0 to 0", channel=1)


def test_the_channel_is_the_images_and_not_the_masks(tmp_path: Path) -> None:
    image = save(tmp_path / "a.tif", np.dstack([pixels(), pixels(seed=1), pixels()]))
    mask = save(tmp_path / "m.tif", (pixels() > 99).astype("u1"))
    scan = read_case(Case("s1", [image], [mask]), tmp_path, channel=1)
    assert_array_equal(upright(scan.lesion[..., 0]), pixels() > 99)  # type: ignore[index]


def colour16() -> bytes:
    """A PNG of 16 bits a channel, which PIL cannot write."""
    row = b"\0" + bytes(range(6 * COLUMNS))
    chunks = [
        (b"IHDR", COLUMNS.to_bytes(4, "big") + ROWS.to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])),
        (b"IDAT", zlib.compress(row * ROWS)),
        (b"IEND", b""),
    ]
    parts = [len(d).to_bytes(4, "big") + t + d + zlib.crc32(t + d).to_bytes(4, "big") for t, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encoded(array: NDArray[Any] | Image.Image, format_: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(stream, format_, **options)
    return stream.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(pixels(), "JPEG", exif=exif)


GREY = Image.fromarray(pixels())
FAULTS = {
    "empty": (b"", "the file is empty"),
    "text": (b"no picture at all", "is damaged or cut short"),
    "GIF": (encoded(GREY, "GIF"), "is damaged or cut short"),
    "PNG cut short": (encoded(pixels(), "PNG")[:60], "is damaged or cut short"),
    "JPEG cut short": (encoded(np.zeros((64, 64), "u1"), "JPEG")[:-30], "is damaged or cut short"),
    "palette": (encoded(GREY.convert("P"), "PNG"), "this has a palette. Convert it to grey"),
    "CMYK": (encoded(GREY.convert("CMYK"), "JPEG"), "this has mode CMYK"),
    "colour of 16 bits": (colour16(), "colour of 16 bits"),
    "transparent": (encoded(np.dstack([pixels()] * 4), "PNG"), "transparent in places"),
    "pages": (encoded(GREY, "TIFF", save_all=True, append_images=[GREY]), "this has 2 pages"),
    "turned": (turned(), "EXIF orientation 6"),
    "blank": (encoded(np.zeros((9, 7), "u1"), "PNG"), "the image is blank"),
    "not finite": (encoded(np.full((9, 7), np.nan, "f4"), "TIFF"), "63 of 63 are NaN or infinite"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_picture_is_one_error(tmp_path: Path, name: str) -> None:
    data, words = FAULTS[name]
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert fault(healthy([FileRef(path)]), tmp_path, words).file == str(path)


def bomb(side: int) -> bytes:
    """A PNG that claims `side` squared pixels and holds none."""
    head = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    chunk = len(head).to_bytes(4, "big") + b"IHDR" + head + zlib.crc32(b"IHDR" + head).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + chunk + bytes(4) + b"IDAT"


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bomb(30000))
    fault(healthy([FileRef(path)]), tmp_path, "decompression bomb")
    path.write_bytes(bomb(9000))
    fault(healthy([FileRef(path)] * 4), tmp_path, "9000 x 9000 pixels are more than the limit of 67108864")


def test_pictures_of_different_sizes_are_refused(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.png", pixels()), save(tmp_path / "b.png", pixels()[:-1])
    message = "this has 7 x 8 pixels and " + f"{a.path} 7 x 9"
    assert fault(healthy([a, b]), tmp_path, message).file == str(b)
    assert fault(Case("s1", [a], [b]), tmp_path, message).file == str(b)
    fault(Case("s1", [a, a], [a]), tmp_path, "must lie on the grid of its image")
    fault(healthy([]), tmp_path, "at least one picture")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=200)
@given(
    format_=st.sampled_from(["PNG", "JPEG", "TIFF"]),
    changes=st.dictionaries(st.floats(0, 0.999), st.integers(0, 255), max_size=5),
    keep=st.floats(0.1, 1),
)
def test_no_damage_whatsoever_gives_another_kind_of_error(
    tmp_path_factory: pytest.TempPathFactory, format_: str, changes: dict[float, int], keep: float
) -> None:
    raw = bytearray(encoded(pixels(), format_))
    for place, value in changes.items():
        raw[int(place * len(raw))] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed.png"
    path.write_bytes(raw[: int(keep * len(raw))])
    try:
        scan = read_case(healthy([FileRef(path)]), path.parent)
    except CaseError:
        return
    assert np.isfinite(scan.image).all()
