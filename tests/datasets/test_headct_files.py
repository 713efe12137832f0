"""HeadCT files that cannot be read, or are too few: each is named, and nothing is written."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from adbench_datasets.headct_sprites import (
    MIN_HEAD_PX,
    find_source,
    head_region,
)
from headct_files import archive, as_members, files, folder, jpeg, load, slice_of_a_head
from PIL import Image

from adbench.contracts.splits import Splits
from adbench.errors import DataError


@pytest.fixture(scope="module")
def named() -> dict[str, bytes]:
    return files(80)


@pytest.fixture(scope="module")
def root(tmp_path_factory, named) -> Path:
    return folder(tmp_path_factory.mktemp("headct"), named)


@pytest.fixture(scope="module")
def splits(root) -> Splits:
    return load(root)


def broken(root: Path, name: str, data: bytes) -> Path:
    return folder(root, {**files(3), name: data})


def huge() -> bytes:
    """A small JPEG that says it has 65,500 x 65,500 pixels."""
    data = bytearray(slice_of_a_head(0))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = b"\xff\xdc\xff\xdc"
    return bytes(data)


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (64, 64)).save(stream, "PNG")
    return stream.getvalue()


def test_hidden_files_of_macos_are_no_images(tmp_path, named, splits):
    hidden = {f"._{name}": b"\0\5\26\7" for name in named}
    for source in (folder(tmp_path / "folder", named | hidden), archive(tmp_path, as_members(named | hidden))):
        assert load(source).manifest() == splits.manifest()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (slice_of_a_head(7)[:600], "truncated"),
        (slice_of_a_head(7)[:20], "truncated or not a JPEG"),
        (b"", "no JPEG data"),
        (b"hello", "no JPEG data"),
        (png(), "no JPEG data"),
        (huge(), "truncated or not a JPEG"),
        (jpeg(np.zeros((64, 32), np.uint8)), "64 x 64 pixels, but .* is 32 x 64"),
        (b"x" * ((1 << 20) + 1), "larger than"),
    ],
    ids=["truncated", "only a header", "empty", "text", "PNG", "huge", "another size", "too long"],
)
def test_a_bad_file_is_named(tmp_path, data, reason):
    with pytest.raises(DataError, match=reason) as error:
        load(broken(tmp_path, "bad ü.jpeg", data))
    assert "bad ü.jpeg" in str(error.value)
    assert "object at 0x" not in str(error.value)
    assert "official MedNIST.tar.gz" in str(error.value) or "no MedNIST image" in str(error.value)


def test_a_bad_member_of_an_archive_is_named(tmp_path):
    with pytest.raises(DataError, match=re.escape("MedNIST.tar.gz:MedNIST/HeadCT/bad.jpeg is truncated")):
        load(archive(tmp_path, as_members({**files(3), "bad.jpeg": b"hello"})))


def test_a_colour_image_is_read_as_grey(tmp_path, named, splits):
    name, data = next(iter(named.items()))
    colour = np.stack([np.asarray(Image.open(io.BytesIO(data)))] * 3, axis=2)
    stream = io.BytesIO()
    Image.fromarray(colour).save(stream, "JPEG", quality=95)
    assert len(load(folder(tmp_path, {**named, name: stream.getvalue()})).train) == 40


@pytest.mark.parametrize("name", ["../../escape.jpeg", "/etc/escape.jpeg", "MedNIST/HeadCT/../../../escape.jpeg"])
def test_an_archive_with_a_path_that_escapes_is_refused_and_writes_nothing(tmp_path, name):
    place = archive(tmp_path / "a", {**as_members(files(3)), name: b"x"})
    with pytest.raises(DataError, match=r"leads out of the archive") as error:
        load(place)
    assert repr(name) in str(error.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "MedNIST.tar.gz"]


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_archive_is_refused(tmp_path, named, fraction):
    path = archive(tmp_path, as_members(named)) / "MedNIST.tar.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(DataError, match=r"Cannot read .*MedNIST.tar.gz .*Fetch it again"):
        load(tmp_path)


def test_an_archive_cut_at_its_very_end_or_between_two_files_is_refused(tmp_path, named):
    path = archive(tmp_path, as_members(named)) / "MedNIST.tar.gz"
    whole = path.read_bytes()
    for cut in (1, 8, 9, 40):
        path.write_bytes(whole[:-cut])
        with pytest.raises(DataError, match="Cannot read"):
            load(tmp_path)


def test_a_flipped_bit_anywhere_in_an_archive_is_found(tmp_path, named):
    path = archive(tmp_path, as_members(named)) / "MedNIST.tar.gz"
    whole = path.read_bytes()
    for place in np.linspace(40, len(whole) - 1, 12, dtype=int):
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(DataError):
            load(tmp_path)


def test_an_archive_without_headct_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"HeadCT images \(\*.jpeg\) are needed, but .* holds none"):
        load(archive(tmp_path, {"MedNIST/Hand/000001.jpeg": slice_of_a_head(0)}))


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"notes.txt as MedNIST.tar.gz \(not a gzip file\)"):
        load(tmp_path / "notes.txt")


def test_without_a_root_the_option_and_the_variable_are_named():
    with pytest.raises(DataError, match=r"--data-root \(or ADBENCH_DATA\)"):
        find_source(None)


@pytest.mark.parametrize("name", ["nowhere", "x" * 5000])
def test_a_wrong_root_says_what_was_looked_for_and_where(tmp_path, name):
    with pytest.raises(DataError, match=r"looks for MedNIST.tar.gz or MedNIST/HeadCT") as error:
        find_source(tmp_path / name)
    for looked in ("MedNIST/HeadCT", "HeadCT", "MedNIST.tar.gz"):
        assert str(tmp_path / name / looked) in str(error.value)


def test_an_empty_folder_of_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds none"):
        load(folder(tmp_path, {}))


def test_a_folder_that_is_named_like_an_image_is_named(tmp_path):
    (folder(tmp_path, files(2)) / "MedNIST/HeadCT/a.jpeg").mkdir()
    with pytest.raises(DataError, match=r"Cannot read .*a.jpeg \(Is a directory\)"):
        load(tmp_path)


@pytest.mark.parametrize(
    "config", [{"n_train": 60}, {"n_test": 30}, {"n_validation": 30}, {"n_train": 9000}, {"development": True}]
)
def test_too_few_images_for_the_split_are_counted_in_the_message(root, config):
    with pytest.raises(DataError, match=r"there are 80 unique ones .*complete set, or lower data.n_train"):
        load(root, **config)


def test_a_sprite_that_fits_nowhere_names_the_setting(tmp_path):
    ring = np.full((64, 64), 20, np.uint8)
    y, x = np.mgrid[:64, :64] - 31.5
    r = np.hypot(x, y)
    ring[(r < 31) & (r > 27) & (x + y > -38)] = 200  # open, so that the hole is no part of the head
    rings = {f"{i}.jpeg": jpeg(np.clip(ring + i, 0, 255).astype(np.uint8), 95) for i in range(20)}
    assert head_region(ring).sum() >= MIN_HEAD_PX
    with pytest.raises(DataError, match=r"data.min_overlap=1.0 on image [0-9a-f]{12}: lower it"):
        load(folder(tmp_path, rings), n_train=1, n_validation=1, n_test=9, min_overlap=1.0)
