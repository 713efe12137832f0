"""HeadCT with sprites: read as distributed, split by content, contaminated where it says."""

from __future__ import annotations

import io
import os
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
from headct_files import FEW, MANY, archive, as_members, files, folder, jpeg, load
from numpy.typing import NDArray
from PIL import Image

from adbench.contracts.splits import Split, Splits
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


@pytest.mark.slow
def test_the_real_set_has_9907_unique_images_split_into_9000_707_and_200(real):
    assert {name: len(split) for name, split in real.items()} == {"train": 9000, "validation": 707, "test": 200}
    hashes = {digest for _, split in real.items() for digest in split.hashes}
    assert len(hashes) == 9907


@pytest.mark.slow
def test_the_real_set_has_the_pixels_that_published_records_name(real):
    """Where other pixels or splits are meant, raise the adapter's `info.version` and change these."""
    assert real.train.image_fingerprint == "614f88deb921d5dc"
    assert real.test.fingerprint == "ea6f5d6e682025f3"


@pytest.mark.slow
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


def test_a_check_says_what_is_there_twice_and_how_large_the_sprites_are(tmp_path):
    named = files(80)
    twice = {f"9{name}": data for name, data in list(named.items())[:4]}
    config = HeadCTSpritesConfig(**FEW)
    facts = HeadCTSprites(config, folder(tmp_path, {**named, **twice})).inspect().facts
    assert facts["images"] == "84, of which 80 are unique"
    assert facts["release"] == "HeadCT"
    assert facts["lesions"].startswith(f"{config.n_test} sprites of ")
    assert facts["test images"] == f"{2 * config.n_test} of {2 * config.n_test} subjects"
