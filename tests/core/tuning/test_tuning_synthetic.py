"""Synthetic lesions: where they lie, how large they are, and what they leave as it was."""

from __future__ import annotations

import numpy as np
import pytest

from adbench.testing import toy_split
from adbench.tuning.synthetic import KINDS, LEAST_CHANGE, LesionGenerator, find_head

SIDE = 64
IMAGES = toy_split(24, SIDE, 5).images[:, 0]
HEADS = [find_head(image) for image in IMAGES]


def drawn(kind: str, generator: LesionGenerator | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    generator = generator or LesionGenerator()
    pairs = enumerate(zip(IMAGES, HEADS, strict=True))
    return [generator.draw(kind, i, image, head, IMAGES[i - 1]) for i, (image, head) in pairs]


def test_the_head_is_what_stands_out_without_holes():
    image = np.full((40, 40), 0.1, np.float32)
    rows, columns = np.indices(image.shape)
    disc = (rows - 20) ** 2 + (columns - 18) ** 2 < 144
    image[disc] = 0.6
    image[20, 18] = 0.1  # a hole
    image[2, 36] = 0.9  # a speck
    assert np.array_equal(find_head(image), disc)
    assert not find_head(np.full((8, 8), 0.3, np.float32)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_lesion_lies_on_the_head_and_changes_the_image_there(kind):
    for (image, lesion), healthy, head in zip(drawn(kind), IMAGES, HEADS, strict=True):
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
        assert lesion.any()
        assert not (lesion & ~head).any()
        assert np.abs(image - healthy)[lesion].mean() > LEAST_CHANGE / 4
    changes = [np.abs(i - h)[m].mean() for (i, m), h in zip(drawn(kind), IMAGES, strict=True)]
    assert np.mean(np.array(changes) >= LEAST_CHANGE) >= 0.5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "blob"])
def test_nothing_outside_the_lesion_changes(kind):
    for (image, lesion), healthy in zip(drawn(kind), IMAGES, strict=True):
        np.testing.assert_array_equal(image[~lesion], healthy[~lesion])


def test_a_blob_is_half_as_high_at_its_edge_as_in_its_middle_and_fades_outside():
    flat = np.full((SIDE, SIDE), 0.3, np.float32)
    head = np.ones(flat.shape, bool)
    generator = LesionGenerator(smallest=0.02, largest=0.03)
    for i in range(10):
        image, lesion = generator.draw("blob", i, flat, head, flat)
        step = np.abs(image - flat)
        assert step[lesion].min() >= 0.49 * step.max()
        assert step[~lesion].max() <= 0.51 * step.max()


def test_areas_are_within_the_range_relative_to_the_head():
    generator = LesionGenerator(smallest=0.02, largest=0.06)
    head = np.ones((SIDE, SIDE), bool)
    sizes = []
    for i in range(60):
        lesion = generator.draw("shape", i, np.full((SIDE, SIDE), 0.4, np.float32), head, IMAGES[0])[1]
        inside = not (lesion[[0, -1]].any() or lesion[:, [0, -1]].any())
        sizes += [lesion.mean()] if inside else []  # one at the border is cut
    assert min(sizes) > 0.02 * 0.8
    assert max(sizes) < 0.06 * 1.2
    assert max(sizes) > 1.5 * min(sizes)


def test_shapes_are_both_brighter_and_darker():
    signs = [np.sign((i - h)[m].mean()) for (i, m), h in zip(drawn("shape"), IMAGES, strict=True)]
    assert {-1.0, 1.0} == set(signs)


def test_a_patch_is_made_of_the_other_image():
    head = np.ones((SIDE, SIDE), bool)
    image, lesion = LesionGenerator().draw("patch", 0, np.zeros((SIDE, SIDE), np.float32), head, IMAGES[0] * 0 + 0.8)
    value = np.unique(image[lesion])
    assert len(value) == 1
    assert 0.4 <= value[0] <= 0.8


def test_a_deformation_brings_in_no_value_that_was_not_there():
    for (image, lesion), healthy in zip(drawn("deformation"), IMAGES, strict=True):
        assert image[lesion].min() >= healthy.min()
        assert image[lesion].max() <= healthy.max()


def test_the_same_seed_draws_the_same_and_another_draws_another():
    for kind in KINDS:
        first, again, other = drawn(kind)[0], drawn(kind)[0], drawn(kind, LesionGenerator(seed=1))[0]
        assert np.array_equal(first[0], again[0])
        assert not np.array_equal(first[1], other[1])
