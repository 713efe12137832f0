"""Splits say what is wrong with them, and equal data have equal fingerprints."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbench.contracts.splits import Split, Splits, content_hash, same_name, unseen
from adbench.errors import DataError

SHAPE = (4, 1, 8, 8)


def split(name: str = "a", seed: int = 0, **fields: object) -> Split:
    images = np.random.default_rng(seed).random(SHAPE, np.float32)
    names = [f"{name}-{i}" for i in range(len(images))]
    return replace(Split(images, names, [content_hash(image) for image in images]), **fields)


def lesions(*sick: int) -> np.ndarray:
    masks = np.zeros(SHAPE, bool)
    masks[list(sick), 0, 2, 2] = True
    return masks


@pytest.fixture
def good() -> Splits:
    return Splits(split("train", 1), split("validation", 2), split("test", 3, lesions=lesions(0)))


def test_good_splits_pass(good):
    good.check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros(SHAPE)}, r"float32 stack \(N, 1, H, W\), got float64"),
        ({"images": np.zeros(SHAPE[1:], np.float32)}, r"got float32 \(1, 8, 8\)"),
        ({"subjects": ["one"]}, "4 images needs a subject and a hash, got 1 and 4"),
        ({"hashes": []}, "got 4 and 0"),
        ({"lesions": np.zeros(SHAPE, np.uint8)}, "lesions must be bool"),
        ({"brains": np.zeros((4, 8, 8), bool)}, "brains must be bool"),
        ({"ignores": np.zeros((3, 1, 8, 8), bool)}, "ignores must be bool"),
        ({"image_level_only": np.zeros(SHAPE, bool)}, r"image_level_only must be bool \(4,\)"),
        ({"image_level_only": np.zeros(4, np.int64)}, "image_level_only must be bool"),
    ],
)
def test_a_split_of_the_wrong_shape_or_type_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        split(**changes)


def empty() -> Split:
    return Split(np.zeros((0, 1, 8, 8), np.float32), [], [])


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_an_empty_split_is_refused(good, name):
    with pytest.raises(DataError, match=f"{name} is empty"):
        replace(good, **{name: empty()}).check()


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_lesion_in_a_healthy_split_is_refused(good, name):
    with pytest.raises(DataError, match=f"The {name} split must be healthy"):
        replace(good, **{name: split(name, 9, lesions=lesions(1))}).check()


@pytest.mark.parametrize("masks", [None, lesions()])
def test_a_test_split_without_lesions_is_refused(good, masks):
    with pytest.raises(DataError, match="at least one lesion pixel"):
        replace(good, test=replace(good.test, lesions=masks)).check()


def test_a_subject_in_two_splits_is_refused(good):
    shared = replace(good.validation, subjects=["train-0", "v1", "v2", "v3"])
    with pytest.raises(DataError, match="subject 'train-0' is in both train and validation"):
        replace(good, validation=shared).check()


visible = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=5).filter(
    lambda text: not unseen(text)
)


@given(
    visible,
    st.text(st.sampled_from("\u200b\ufe0f\u3164\u00ad\u2060\U000e0100"), max_size=2),
    st.sampled_from(["  ", "\u00a0"]),
)
def test_a_subject_under_another_spelling_is_the_same(name, hidden, space):
    spelt = unicodedata.normalize("NFD", f" {name}{hidden}{space}{name}É")
    assert same_name(spelt) == same_name(f"{name} {name}é")
    train, test = split("a", 1), split("b", 2, lesions=lesions(0))
    splits = Splits(
        replace(train, subjects=[f"{name} {name}é", *train.subjects[1:]]),
        split("c", 3),
        replace(test, subjects=[spelt, *test.subjects[1:]]),
    )
    with pytest.raises(DataError, match="is in both train and test"):
        splits.check()


def test_an_image_in_two_splits_is_refused_under_whatever_name(good):
    shared = replace(good.test, hashes=[good.train.hashes[2], *good.test.hashes[1:]])
    with pytest.raises(DataError, match=r"image content .* is in both train and test"):
        replace(good, test=shared).check()


def test_a_subject_may_have_several_images_within_a_split(good):
    replace(good, train=replace(good.train, subjects=["one"] * 4)).check()


def test_the_manifest_names_every_image_once(good):
    several = replace(good, train=replace(good.train, subjects=["one", "one", "two", "one"]))
    manifest = several.manifest()
    assert list(manifest) == ["train", "validation", "test"]
    assert list(manifest["train"]) == ["one", "one#1", "two", "one#3"]
    assert sorted(digest for named in manifest.values() for digest in named.values()) == sorted(
        digest for _, part in several.items() for digest in part.hashes
    )


def test_equal_data_have_equal_fingerprints_and_any_change_another_one():
    base = split(lesions=lesions(0), brains=~lesions())
    pixel = base.images.copy()
    pixel[3, 0, 7, 7] += 1e-6
    changed = [
        replace(base, images=pixel),
        replace(base, lesions=lesions(1)),
        replace(base, lesions=None),
        replace(base, brains=None),
        replace(base, brains=None, ignores=base.brains),
        replace(base, subjects=["x", *base.subjects[1:]]),
        replace(base, image_level_only=np.array([True, False, False, False])),
    ]
    assert replace(base).fingerprint == base.fingerprint
    assert len({part.fingerprint for part in [base, *changed]}) == len(changed) + 1


def test_trained_parts_depend_on_pixels_alone():
    base = split(lesions=lesions(0))
    assert replace(base, lesions=None, subjects=list("abcd")).image_fingerprint == base.image_fingerprint
    assert split(seed=1).image_fingerprint != base.image_fingerprint


def test_memory_mapped_images_have_the_fingerprint_of_those_in_memory(tmp_path):
    base = split()
    np.save(tmp_path / "images.npy", base.images)
    mapped = replace(base, images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    assert mapped.fingerprint == base.fingerprint


def test_taking_images_takes_all_that_belongs_to_them():
    only = np.array([False, True, False, True])
    base = split(lesions=lesions(0, 2), brains=~lesions(0), ignores=lesions(1), image_level_only=only)
    taken = base.take(np.array([2, 0]))
    for i, source in enumerate((2, 0)):
        assert (taken.images[i] == base.images[source]).all()
        assert (taken.lesions[i] == base.lesions[source]).all()
        assert (taken.ignores[i] == base.ignores[source]).all()
        assert taken.subjects[i] == base.subjects[source]
        assert taken.hashes[i] == base.hashes[source]
    assert list(base.pixel_level().subjects) == ["a-0", "a-2"]
    assert base.take(slice(1)).subjects == ["a-0"]


def test_an_image_without_masks_has_no_lesion():
    sample = split()[1]
    assert not sample.lesion.any()
    assert sample.brain is None
    assert sample.ignore is None
