"""Sprites have the size, shape and place that geometry says."""

from __future__ import annotations

import numpy as np
import pytest
from adbench_datasets.lesions.sprites import SHAPES, SIDES_PX, draw_sprite, sprite
from hypothesis import given, settings
from hypothesis import strategies as st

RELAXED = settings(max_examples=50)
"""A busy machine is no error."""
SIZE = (128, 128)
CENTRE = (64.0, 64.0)
HEART_AREA = 3.6616 / 1.2**2 / 4
"""(x^2 + y^2 - 1)^3 = x^2 y^3 encloses 3.6616, and 1.2 of its units are half a side."""
AREAS = {"square": 1.0, "ellipse": np.pi / 4 * 0.6, "heart": HEART_AREA}
"""Area as a fraction of the square around the sprite."""

angles = st.floats(0, 2 * np.pi)
sides = st.floats(min(SIDES_PX), 40.0)


@given(shape=st.sampled_from(SHAPES), side=sides, angle=angles)
@RELAXED
def test_the_area_is_that_of_the_shape_at_any_angle(shape, side, angle):
    area = sprite(shape, side, angle, CENTRE, SIZE).sum()
    assert area == pytest.approx(AREAS[shape] * side**2, abs=2 * side + 4)  # half a pixel along the outline


@given(shape=st.sampled_from(SHAPES), side=sides, angle=angles)
@RELAXED
def test_a_sprite_stays_within_the_circle_around_its_square(shape, side, angle):
    rows, columns = np.nonzero(sprite(shape, side, angle, CENTRE, SIZE))
    assert np.hypot(rows - CENTRE[0], columns - CENTRE[1]).max() <= side / 2 * np.sqrt(2) + 1e-6


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", SIDES_PX)
def test_an_upright_sprite_fills_the_width_of_its_square(shape, side):
    columns = np.nonzero(sprite(shape, side, 0.0, CENTRE, SIZE).any(0))[0]
    assert side - 2 <= np.ptp(columns) + 1 <= side + 1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_quarter_turn_of_the_angle_is_a_quarter_turn_of_the_picture(shape):
    upright = sprite(shape, 20.3, 0.0, (31.5, 31.5), (64, 64))
    turned = sprite(shape, 20.3, np.pi / 2, (31.5, 31.5), (64, 64))
    assert (turned == np.rot90(upright, -1)).mean() > 0.999


def test_an_upright_square_is_a_block_of_pixels():
    mask = sprite("square", 10.0, 0.0, (20.0, 30.0), (64, 64))
    expected = np.zeros((64, 64), bool)
    expected[15:26, 25:36] = True
    assert (mask == expected).all()


def test_an_ellipse_is_wider_than_high_and_a_heart_has_its_lobes_above_its_tip():
    ellipse = sprite("ellipse", 20.0, 0.0, CENTRE, SIZE)
    assert ellipse.any(1).sum() / ellipse.any(0).sum() == pytest.approx(0.6, abs=0.08)
    heart = sprite("heart", 30.0, 0.0, CENTRE, SIZE)
    widths = heart.sum(1)[heart.any(1)]
    assert widths[:8].mean() > 2 * widths[-8:].mean()
    assert not heart[np.nonzero(heart.any(1))[0][0], 64], "the notch between the lobes"


def test_an_unknown_shape_is_refused():
    with pytest.raises(ValueError, match="square, ellipse, heart, got 'star'"):
        sprite("star", 10.0, 0.0, CENTRE, SIZE)


@given(seed=st.integers(0, 2**32 - 1), overlap=st.floats(0.05, 1.0), size=st.sampled_from([32, 64, 128]))
@RELAXED
def test_as_much_of_a_sprite_lies_on_the_head_as_was_asked_for(seed, overlap, size):
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    head = np.hypot(x, y) < 0.45 * size
    mask = draw_sprite(head, np.random.default_rng(seed), overlap)
    assert mask is not None
    assert mask.shape == head.shape
    assert (mask & head).sum() >= overlap * mask.sum() > 0


def test_the_same_generator_gives_the_same_sprite_and_another_one_another():
    head = np.ones((64, 64), bool)
    first, again, other = (draw_sprite(head, np.random.default_rng(seed), 0.75) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_sprites_grow_with_the_image():
    areas = {}
    for size in (64, 128):
        rng, head = np.random.default_rng(0), np.ones((size, size), bool)
        areas[size] = np.mean([draw_sprite(head, rng, 1.0).sum() for _ in range(60)])
    assert areas[128] / areas[64] == pytest.approx(4, rel=0.25)


def test_all_shapes_and_sizes_are_drawn(monkeypatch):
    drawn = []

    def remember(shape, side_px, angle, centre, size):
        drawn.append((shape, side_px))
        return np.ones(size, bool)

    monkeypatch.setattr("adbench_datasets.lesions.sprites.sprite", remember)
    rng = np.random.default_rng(0)
    for _ in range(200):
        draw_sprite(np.ones((64, 64), bool), rng, 0.75)
    assert {shape for shape, _ in drawn} == set(SHAPES)
    assert {side for _, side in drawn} == set(SIDES_PX)
    assert len(set(drawn)) == 18


def test_where_no_sprite_fits_none_is_drawn():
    spot = np.zeros((64, 64), bool)
    assert draw_sprite(spot, np.random.default_rng(0), 0.75) is None
    spot[30:33, 30:33] = True
    assert draw_sprite(spot, np.random.default_rng(0), 0.75) is None
