"""HeadCT with sprites: read as distributed, split by content, contaminated where it says."""

from __future__ import annotations

import io
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from adbench_datasets.headct_sprites import (
    MIN_HEAD_PX,
    HeadCTSprites,
    HeadCTSpritesConfig,
    find_source,
    head_region,
)
from numpy.typing import NDArray
from PIL import Image

from adbench.dataset import Split, Splits
from adbench.errors import DataError

FEW = {"n_train": 40, "n_validation": 12, "n_test": 8}
MANY = {"n_train": 200, "n_validation": 40, "n_test": 20}


def jpeg(pixels: NDArray[np.uint8], quality: int = 90) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def slice_of_a_head(seed: int) -> bytes:
    """A bright ring with grey inside on dark air: as much a head as the reader asks for."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] - 31.5 + rng.uniform(-3, 3, (2, 1, 1))
    r = np.hypot(x / rng.uniform(16, 26), y / rng.uniform(18, 28))
    pixels = 20 + 70 * (r < 1) + 150 * ((r < 1) & (r > 0.88)) + rng.integers(0, 12, (64, 64))
    return jpeg(pixels.astype(np.uint8))


def files(n: int, first: int = 0) -> dict[str, bytes]:
    return {f"{i:06d}.jpeg": slice_of_a_head(i) for i in range(first, first + n)}


def folder(root: Path, named: dict[str, bytes]) -> Path:
    place = root / "MedNIST" / "HeadCT"
    place.mkdir(parents=True)
    for name, data in named.items():
        (place / name).write_bytes(data)
    return root


def archive(root: Path, members: dict[str, bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "MedNIST.tar.gz", "w:gz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return root


def as_members(named: dict[str, bytes]) -> dict[str, bytes]:
    return {f"MedNIST/HeadCT/{name}": data for name, data in named.items()}


def load(root: Path, **config: object) -> Splits:
    return HeadCTSprites(HeadCTSpritesConfig(**{**FEW, **config}), root).load()


@pytest.fixture(scope="module")
def named() -> dict[str, bytes]:
    return files(80)


@pytest.fixture(scope="module")
def root(tmp_path_factory, named) -> Path:
    return folder(tmp_path_factory.mktemp("headct"), named)


@pytest.fixture(scope="module")
def splits(root) -> Splits:
    return load(root)


def without_sprites(split: Split) -> NDArray[np.float32]:
    """The images as they are outside of lesions."""
    return np.where(split.lesions, np.float32(0), split.images)


def test_images_are_bytes_divided_by_255_with_the_head_as_brain(splits, named):
    pixels = {np.asarray(Image.open(io.BytesIO(data))).tobytes(): data for data in named.values()}
    for image, brain in zip(splits.train.images, splits.train.brains, strict=True):
        raw = np.rint(image[0] * 255).astype(np.uint8)
        assert raw.tobytes() in pixels
        assert (image[0] == (raw / np.float32(255))).all()
        assert (brain[0] == head_region(raw)).all()


def test_sizes_are_those_asked_for_and_the_rest_is_validation(root, splits):
    assert {name: len(split) for name, split in splits.items()} == {"train": 40, "validation": 12, "test": 16}
    assert len(load(root, n_validation=None).validation) == 80 - 40 - 16


def test_the_order_of_content_hashes_decides_the_split(splits):
    train, rest = splits.train.hashes, [*splits.validation.hashes, *splits.test.hashes]
    assert list(train) == sorted(train)
    assert max(train) < min(rest)


def test_names_of_files_do_not_matter(tmp_path, named, splits):
    renamed = {f"{name[::-1].removeprefix('gepj.')}x.jpg": data for name, data in named.items()}
    assert load(folder(tmp_path, renamed)).fingerprint == splits.fingerprint


def test_archive_and_folder_give_the_same_whatever_the_order_and_what_else_is_inside(tmp_path, named, splits):
    members = {"MedNIST/Hand/000001.jpeg": b"a hand", "MedNIST/README.md": b"text", **as_members(named)}
    assert load(archive(tmp_path, dict(reversed(members.items())))).fingerprint == splits.fingerprint


@pytest.mark.parametrize("below", [".", "MedNIST", "MedNIST/HeadCT"])
def test_the_root_may_be_any_folder_above_the_images_or_their_own(root, splits, below):
    assert load(root / below).fingerprint == splits.fingerprint


def test_the_root_may_be_the_archive_itself(tmp_path, named, splits):
    place = archive(tmp_path, as_members(named)) / "MedNIST.tar.gz"
    assert load(place.rename(tmp_path / "other name.tar.gz")).fingerprint == splits.fingerprint


def test_folders_with_blanks_and_other_letters_work(tmp_path, named, splits):
    assert load(folder(tmp_path / "Daten für Köpfe 頭", named)).fingerprint == splits.fingerprint


def test_duplicates_are_removed_by_content(tmp_path, named, splits):
    again = {f"copy-{name}": data for name, data in list(named.items())[::3]}
    assert load(folder(tmp_path, {**named, **again})).fingerprint == splits.fingerprint


def test_splits_share_neither_subject_nor_content(splits):
    for attribute in ("subjects", "hashes"):
        values = [value for _, split in splits.items() for value in getattr(split, attribute)]
        assert len(set(values)) == len(values)


def test_half_of_the_test_images_have_a_sprite_and_the_clean_ones_leave_pixel_metrics(splits):
    sick = splits.test.lesions.any((1, 2, 3))
    assert sick.tolist() == [True] * 8 + [False] * 8
    assert (splits.test.image_level_only == ~sick).all()


def test_healthy_splits_have_no_lesions(splits):
    assert splits.train.lesions is None
    assert splits.validation.lesions is None


def test_a_lesion_is_where_the_sprite_changed_the_image(splits, named):
    originals = {}
    for data in named.values():
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        originals[head_region(pixels).tobytes()] = (pixels / np.float32(255)).astype(np.float32)
    for i in range(8):
        image, lesion = splits.test.images[i, 0], splits.test.lesions[i, 0]
        value = np.unique(image[lesion])
        assert len(value) == 1
        original = originals[splits.test.brains[i, 0].tobytes()]
        changed = image != original
        assert (changed == (lesion & (original != value))).all()


def test_sprites_lie_on_the_head_as_far_as_asked(root):
    test = load(root, min_overlap=0.9).test
    for lesion, head in zip(test.lesions[:8], test.brains[:8], strict=True):
        assert (lesion & head).sum() >= 0.9 * lesion.sum()


def test_binary_sprites_are_black_or_white_and_uniform_ones_anything_between(root, splits):
    binary = [splits.test.images[i][splits.test.lesions[i]].max() for i in range(8)]
    assert set(binary) == {0, 1}
    test = load(root, sprite_intensity="uniform").test
    uniform = [test.images[i][test.lesions[i]] for i in range(8)]
    assert all(len(np.unique(values)) == 1 for values in uniform)
    assert len({float(values[0]) for values in uniform}) == 8
    assert (test.lesions == splits.test.lesions).all(), "the same shapes, only other values"


def test_the_sprite_seed_changes_sprites_and_nothing_else(root, splits):
    other = load(root, sprite_seed=1)
    assert other.train.fingerprint == splits.train.fingerprint
    assert other.validation.fingerprint == splits.validation.fingerprint
    assert list(other.test.hashes) == list(splits.test.hashes)
    assert (other.test.lesions != splits.test.lesions).any((1, 2, 3)).sum() == 8
    both = splits.test.lesions | other.test.lesions
    assert (np.where(both, 0, other.test.images) == np.where(both, 0, splits.test.images)).all()


def test_more_test_images_leave_the_sprites_of_the_first_as_they_are(root, splits):
    more = load(root, n_test=10)
    assert (more.test.lesions[:8] == splits.test.lesions[:8]).all()


def test_the_development_split_uses_none_of_the_test_images(root, splits):
    development = load(root, n_validation=8, development=True)
    assert not set(development.test.hashes) & set(splits.test.hashes)
    assert not set(development.validation.hashes) & {*splits.test.hashes, *development.test.hashes}
    assert development.train.fingerprint == splits.train.fingerprint


@pytest.mark.parametrize("config", [{}, {"n_validation": None}, {"n_validation": 8, "development": True}])
def test_healthy_images_are_those_of_all_splits_and_no_test_image_is_made_for_them(root, monkeypatch, config):
    splits = load(root, **config)
    for name in ("load", "load_test", "_contaminate"):
        monkeypatch.setattr(HeadCTSprites, name, lambda *given: pytest.fail("the test split was loaded"))
    train, validation = HeadCTSprites(HeadCTSpritesConfig(**{**FEW, **config}), root).load_healthy()
    assert (train.fingerprint, validation.fingerprint) == (splits.train.fingerprint, splits.validation.fingerprint)
    assert (train.hashes, validation.hashes) == (splits.train.hashes, splits.validation.hashes)


def test_too_few_images_are_counted_for_healthy_ones_too(root):
    with pytest.raises(DataError, match="there are 80 unique ones"):
        HeadCTSprites(HeadCTSpritesConfig(**{**FEW, "n_train": 60}), root).load_healthy()


def test_slices_without_a_head_get_no_sprite(tmp_path, named):
    spots = {f"spot-{i}.jpeg": jpeg(np.full((64, 64), 20 + i, np.uint8)) for i in range(12)}
    splits = load(folder(tmp_path, {**named, **spots}), n_validation=None)
    assert (splits.test.brains.sum((1, 2, 3)) >= MIN_HEAD_PX).all()


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


def real_source() -> Path:
    """MedNIST as it is on this machine; skips where it is not."""
    data = os.environ.get("ADBENCH_DATA")
    if data is None:
        pytest.skip("ADBENCH_DATA is not set: it names the folder that holds MedNIST")
    try:
        return find_source(Path(data))
    except DataError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def real() -> Splits:
    return HeadCTSprites(HeadCTSpritesConfig(), real_source()).load()


def test_the_real_set_has_9907_unique_images_split_into_9000_707_and_200(real):
    assert {name: len(split) for name, split in real.items()} == {"train": 9000, "validation": 707, "test": 200}
    hashes = {digest for _, split in real.items() for digest in split.hashes}
    assert len(hashes) == 9907


def test_the_real_set_has_the_pixels_that_published_records_name(real):
    """Where other pixels or splits are meant, raise the adapter's `info.version` and change these."""
    assert real.train.image_fingerprint == "614f88deb921d5dc"
    assert real.test.fingerprint == "ea6f5d6e682025f3"


def test_real_sprites_are_one_value_each_and_lie_on_the_head(real):
    for i in range(100):
        sample = real.test[i]
        assert len(np.unique(sample.image[sample.lesion])) == 1
        assert (sample.lesion & sample.brain).sum() >= 0.75 * sample.lesion.sum()
    assert not real.test.lesions[100:].any()
    assert 0.03 < real.test.lesions[:100].mean() < 0.09


def test_real_images_give_the_same_splits_from_a_folder_and_an_archive_under_other_names(tmp_path):
    source = real_source()
    if not source.is_dir():
        pytest.skip("needs the extracted folder MedNIST/HeadCT")
    some = {path.name: path.read_bytes() for path in sorted(source.iterdir())[::25][:400]}
    renamed = {f"{i}.jpeg": data for i, data in enumerate(reversed(some.values()))}
    from_folder = load(folder(tmp_path / "folder", some), **MANY)
    from_archive = load(archive(tmp_path / "archive", as_members(renamed)), **MANY)
    assert from_folder.fingerprint == from_archive.fingerprint
    assert from_folder.manifest() == from_archive.manifest()
