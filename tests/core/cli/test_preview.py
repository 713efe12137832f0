"""The contact sheet: which slices stand on it, and what is drawn on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import toys

from adbench.cli import preview
from adbench.contracts.splits import Split

SIDE = 32


def split(n_subjects: int = 4, slices: int = 6, sick: int = 3) -> Split:
    """Slices of subjects in order; the first `sick` of each have a square lesion."""
    n = n_subjects * slices
    lesions = np.zeros((n, 1, SIDE, SIDE), bool)
    lesions[np.arange(n) % slices < sick, :, 8:16, 8:16] = True
    images = np.full(lesions.shape, 0.5, np.float32)
    subjects = [f"s{i // slices}" for i in range(n)]
    return replace(toys.healthy(images, "test", lesions=lesions), subjects=subjects)


def drawn(sheet, colour) -> int:
    return int((np.asarray(sheet) == colour).all(-1).sum())


@pytest.mark.parametrize("count", [1, 2, 7, 8, 24, 100])
def test_as_many_as_asked_for_are_chosen_or_all_there_are_and_none_twice(count):
    chosen = preview.choose(split(), count, 0)
    assert len(chosen) == len(set(chosen)) == min(count, 24)
    assert chosen == sorted(chosen)


def test_half_have_lesions_and_every_subject_comes_before_any_comes_again():
    data = split(n_subjects=5)
    chosen = preview.choose(data, 10, 0)
    sick = [i for i in chosen if data.lesions[i].any()]
    assert len(sick) == 5
    assert len({data.subjects[i] for i in sick}) == 5
    assert len({data.subjects[i] for i in set(chosen) - set(sick)}) == 5


@pytest.mark.parametrize(("sick", "expected"), [(0, 0), (1, 4), (6, 12), (5, 8)])
def test_where_one_kind_is_rare_the_other_fills_the_sheet(sick, expected):
    data = split(sick=sick)
    chosen = preview.choose(data, 12, 0)
    assert len(chosen) == 12
    assert sum(bool(data.lesions[i].any()) for i in chosen) == expected


def test_the_choice_and_the_sheet_follow_the_seed_alone():
    data = split(n_subjects=20)
    chosen = preview.choose(data, 8, 3)
    assert chosen == preview.choose(data, 8, 3)
    assert chosen != preview.choose(data, 8, 4)
    first, second = (preview.draw(data, chosen, "toy").tobytes() for _ in range(2))
    assert first == second


def test_a_healthy_split_without_masks_has_a_sheet():
    data = replace(split(), lesions=None)
    sheet = preview.draw(data, preview.choose(data, 5, 0), "toy")
    assert drawn(sheet, preview.RED) == 0


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_grey_is_the_value_itself_whatever_else_is_in_the_image(value):
    data = split()
    data.images[0] = value
    sheet = np.asarray(preview.draw(data, [0], "toy"))
    assert (sheet[-preview.CAPTION_PX - 20, preview.MARGIN_PX + 5] == round(value * 255)).all()


def test_a_lesion_is_outlined_just_outside_its_edge():
    factor = preview.TILE_PX // SIDE
    with_lesion, clean = preview.draw(split(), [0], "toy"), preview.draw(split(), [5], "toy")
    width = factor // 2
    assert drawn(with_lesion, preview.RED) == pytest.approx(4 * 8 * factor * width, abs=4 * width**2)
    assert drawn(clean, preview.RED) == 0
    grey = drawn(with_lesion, (128, 128, 128))
    assert drawn(clean, (128, 128, 128)) - grey == drawn(with_lesion, preview.RED), "nothing inside is hidden"


def test_ignored_pixels_are_hatched_and_the_brain_is_outlined_on_request():
    mask = np.zeros((24, 1, SIDE, SIDE), bool)
    mask[:, :, 20:28, 4:28] = True
    data = replace(split(sick=0), ignores=mask, brains=mask)
    plain, brain = preview.draw(data, [0], "toy"), preview.draw(data, [0], "toy", brain=True)
    area = mask[0].sum() * (preview.TILE_PX // SIDE) ** 2
    assert drawn(plain, preview.BLUE) == pytest.approx(area / preview.HATCH_PX, rel=0.05)
    assert (drawn(plain, preview.GREEN), drawn(brain, preview.GREEN) > 0) == (0, True)


def test_large_slices_keep_their_size_and_small_ones_are_enlarged_by_whole_factors():
    for side, shown in ((16, 192), (100, 200), (240, 240)):
        data = toys.healthy(np.zeros((1, 1, side, side), np.float32), "a")
        assert preview.draw(data, [0], "toy").width == shown + 2 * preview.MARGIN_PX


def test_captions_name_subject_and_slice():
    data = split()
    assert preview._caption(data, 7) == "s1"
    sources = [f"a/b{i}.nii.gz[{i}]" for i in range(24)]
    assert preview._caption(replace(data, sources=sources), 7) == "s1[7]"
    assert preview._caption(replace(data, sources=["a.png"] * 24), 7) == "s1"


def test_a_long_caption_fits_its_tile():
    data = replace(split(), subjects=["a very long name of a subject " * 9] * 24)
    assert preview.draw(data, [0], "t" * 500).width == preview.TILE_PX + 2 * preview.MARGIN_PX
