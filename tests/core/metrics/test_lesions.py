"""Lesions by size, against counting by hand and by flood fill."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adbench.metrics.dice import DiceAt
from adbench.metrics.intervals import resample_weights
from adbench.metrics.lesions import EDGES, ONE_IN, LesionsBySize

H = W = 40
"""1,600 pixels: the ranges end at 1.6, 8 and 32 pixels."""


def slice_with(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """(1, H, W) bool, true in boxes (top, left, height, width)."""
    mask = np.zeros((1, H, W), bool)
    for top, left, height, width in boxes:
        mask[0, top : top + height, left : left + width] = True
    return mask


def count(lesion: np.ndarray, scores: np.ndarray, valid: np.ndarray | None = None, best=0.5, transferred=0.9):
    strata = LesionsBySize((best, transferred))
    strata.add("one", scores.astype(np.float32), lesion, valid)
    return strata.strata(20)


def test_each_lesion_counts_in_the_range_of_its_share_of_the_image():
    lesion = slice_with((0, 0, 1, 1), (0, 10, 1, 2), (10, 0, 2, 4), (20, 0, 4, 8), (30, 0, 3, 11))
    found = count(lesion, np.zeros(lesion.shape))
    assert [(s.from_fraction, s.to_fraction) for s in found] == [
        (0.0, 0.001),
        (0.001, 0.005),
        (0.005, 0.02),
        (0.02, None),
    ]
    assert [(s.lesions, s.pixels) for s in found] == [(1, 1), (1, 2), (1, 8), (2, 32 + 33)], "a lower end belongs to it"


def test_pixels_that_touch_by_a_corner_are_one_lesion():
    found = count(slice_with((0, 0, 1, 1), (1, 1, 1, 1)), np.zeros((1, H, W)))
    assert [s.lesions for s in found] == [0, 1, 0, 0]


@pytest.mark.parametrize(("flagged", "detected"), [(0, 0), (1, 0), (2, 0), (3, 1), (30, 1)])
def test_a_lesion_is_detected_where_a_tenth_of_its_pixels_is_flagged(flagged, detected):
    lesion, scores = slice_with((0, 0, 1, 30)), np.zeros((1, H, W))
    scores[0, 0, :flagged] = 0.5
    stratum = count(lesion, scores)[2]
    assert ONE_IN == 10
    assert (stratum.detected.value, stratum.recall.value) == (detected, flagged / 30)
    assert (stratum.detected_transferred.value, stratum.recall_transferred.value) == (0, 0)


def test_flagged_pixels_outside_lesions_do_not_count():
    assert count(slice_with((0, 0, 5, 5)), 1.0 * ~slice_with((0, 0, 5, 5)))[2].recall.value == 0


def test_only_pixels_that_count_make_a_lesion():
    lesion, valid = slice_with((0, 0, 3, 3), (10, 0, 5, 5)), np.ones((1, H, W), bool)
    valid[0, 10:] = False
    valid[0, 1] = False  # cuts the first in two
    found = count(lesion, np.ones((1, H, W)), valid)
    assert [(s.lesions, s.pixels) for s in found] == [(0, 0), (2, 6), (0, 0), (0, 0)]


def test_a_range_without_a_lesion_is_undefined():
    stratum = count(slice_with((0, 0, 5, 5)), np.ones((1, H, W)))[0]
    assert (stratum.recall.value, stratum.detected.low) == (None, None)


def flood(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Components with 8 neighbours, the slow way."""
    left, found = set(map(tuple, np.argwhere(mask).tolist())), []
    while left:
        stack, component = [left.pop()], []
        while stack:
            row, column = stack.pop()
            component.append((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            stack.extend(near)
        found.append(component)
    return found


@given(seed=st.integers(0, 10_000), density=st.sampled_from([0.02, 0.1, 0.3]))
@settings(deadline=None, max_examples=30)
def test_counts_are_those_of_counting_by_hand(seed, density):
    rng = np.random.default_rng(seed)
    lesion, scores = rng.random((3, 1, H, W)) < density, rng.random((3, 1, H, W)).astype(np.float32)
    strata = LesionsBySize((0.5, 0.9))
    for i in range(3):
        strata.add(f"subject {i % 2}", scores[i], lesion[i])
    expected = np.zeros((4, 6), int)
    for i in range(3):
        for component in flood(lesion[i, 0]):
            values = np.array([scores[i, 0][pixel] for pixel in component])
            size = sum(len(component) / (H * W) >= edge for edge in EDGES)
            hits = [(values >= t).sum() for t in (0.5, 0.9)]
            expected[size] += (1, len(component), *hits, *(hit / len(component) >= 0.1 for hit in hits))
    for stratum, (n, pixels, hit, hit_t, seen, seen_t) in zip(strata.strata(10), expected, strict=True):
        assert (stratum.lesions, stratum.pixels) == (n, pixels)
        if n:
            fractions = (stratum.recall, stratum.recall_transferred, stratum.detected, stratum.detected_transferred)
            assert [f.value for f in fractions] == pytest.approx([hit / pixels, hit_t / pixels, seen / n, seen_t / n])


def test_recall_over_all_sizes_is_that_of_the_pooled_counts():
    rng = np.random.default_rng(0)
    lesion, scores = rng.random((1, H, W)) < 0.05, rng.random((1, H, W)).astype(np.float32)
    found = count(lesion, scores)
    flagged = sum(s.recall.value * s.pixels for s in found if s.pixels)
    dice = DiceAt(0.5)
    dice.add("one", scores, lesion)
    assert 2 * flagged / ((scores >= 0.5).sum() + lesion.sum()) == pytest.approx(dice.pooled)


def test_intervals_are_over_the_resamples_of_subjects_that_the_other_metrics_use():
    strata, lesion = LesionsBySize((0.5, 0.9)), slice_with((0, 0, 5, 5))
    hits = {"a": 25, "b": 5, "c": 10}
    for subject, n in hits.items():
        scores = np.zeros((1, H, W), np.float32)
        scores[0, :5, :5].flat[:n] = 1
        block = np.zeros(25, np.float32)
        block[:n] = 1
        scores[0, :5, :5] = block.reshape(5, 5)
        strata.add(subject, scores, lesion)
    strata.add("healthy", np.zeros((1, H, W), np.float32), np.zeros((1, H, W), bool))
    weights = resample_weights([*hits, "healthy"], 500)
    drawn = [row[:3] @ list(hits.values()) / (25 * row[:3].sum()) for row in weights if row[:3].any()]
    estimate = strata.strata(500)[2].recall
    assert estimate.value == pytest.approx(40 / 75)
    assert [estimate.low, estimate.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]))
