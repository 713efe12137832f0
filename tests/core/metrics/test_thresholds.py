"""Thresholds from healthy images, against counting one score after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_maps import make_maps, rereader, several_scores

from adbench.errors import ScoreError
from adbench.metrics import bins as bins_module
from adbench.metrics.maps import Maps
from adbench.metrics.points import POINTS
from adbench.metrics.thresholds import HealthyThreshold, healthy_thresholds


def by_hand(maps: list[Maps], rate: float) -> tuple[float, float]:
    """The smallest observed score with at most the rate above it, the mean over subjects of their own rates."""
    whole = {name: np.concatenate([s.ravel() for n, s, _, _ in maps if n == name]) for name, *_ in maps}
    found = []
    for score in np.unique(np.concatenate(list(whole.values()))):
        met = float(np.mean([(s > score).mean() for s in whole.values()]))
        if met <= rate + 1e-12:
            found.append((float(score), met))
    return min(found)


@several_scores
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), rate=st.floats(0, 1))
def test_a_threshold_is_the_smallest_observed_score_with_at_most_the_rate_above_it(shape, seed, rate):
    maps = make_maps(shape, seed, subjects=3) + make_maps(shape, seed + 1, subjects=1, pixels=40)  # unequal subjects
    (found,) = healthy_thresholds(rereader(maps), [rate])
    assert (found.threshold, found.rate_met) == pytest.approx(by_hand(maps, rate), rel=1e-12, abs=1e-12)


@several_scores
def test_so_it_is_where_many_scores_share_a_cell(shape, monkeypatch):
    monkeypatch.setattr(bins_module, "FINE", 20)
    monkeypatch.setattr(bins_module, "COARSE", 8)
    maps, rates = make_maps(shape, 5, subjects=3), [0.001, 0.01, 0.3, 0.5, 1.0]
    found = healthy_thresholds(rereader(maps), rates)
    expected = [by_hand(maps, rate) for rate in rates]
    assert [(each.threshold, each.rate_met) for each in found] == [
        pytest.approx(e, rel=1e-12, abs=1e-12) for e in expected
    ]


def test_pixels_above_the_threshold_are_counted_and_the_subject_that_holds_most_is_known():
    maps = [(f"s{i}", np.arange(100, dtype=np.float32) + 50 * (i == 0), np.zeros(100, bool), None) for i in range(4)]
    (found,) = healthy_thresholds(rereader(maps), [0.125])
    assert found.threshold == 99
    assert (found.pixels_above, found.largest_share, found.subjects) == (50, 1.0, 4)
    assert found.rate_met == pytest.approx(0.125)


def test_no_healthy_pixel_is_an_error():
    with pytest.raises(ScoreError, match="at least one healthy pixel"):
        healthy_thresholds(lambda: iter(()), [0.05])


@pytest.mark.parametrize(
    ("subjects", "pixels", "share", "missing"),
    [
        (20, 200, 0.25, None),
        (19, 200, 0.25, "needs 20 healthy subjects, there are 19"),
        (20, 199, 0.25, "needs 200 healthy pixels above the threshold, there are 199"),
        (20, 200, 0.3, "one healthy subject holds 30 % of the pixels above, over 25 %"),
    ],
)
def test_a_rate_of_a_thousandth_needs_subjects_and_pixels(subjects, pixels, share, missing):
    found = HealthyThreshold(0.001, 1.0, 0.001, pixels, share, subjects)
    assert POINTS[2].missing(found) == missing
    assert POINTS[0].missing(found) is POINTS[1].missing(found) is None
