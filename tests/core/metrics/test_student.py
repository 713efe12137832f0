"""Intervals of Student's t stay within what a number can be, and hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adbench.metrics.estimate import Estimate
from adbench.metrics.student import error_bound, t_interval

NUMBERS = st.floats(0, 1)


@given(value=NUMBERS, error=st.floats(0, 1), n=st.integers(3, 100))
def test_an_interval_of_a_fraction_lies_in_its_range_and_holds_the_value(value, error, n):
    low, high = t_interval(value, error or 1e-9, n, "fraction")
    assert 0 <= low <= high <= 1
    assert low - 2e-6 <= value <= high + 2e-6


@given(value=st.floats(0, 1000), error=st.floats(0, 1000), n=st.integers(3, 100))
def test_an_interval_of_a_count_is_not_negative(value, error, n):
    low, high = t_interval(value, error or 1e-9, n, "count")
    assert 0 <= low <= high < np.inf


def test_an_interval_of_a_difference_is_that_of_scipy():
    x = np.random.default_rng(0).normal(size=12)
    found = t_interval(float(x.mean()), float(x.std(ddof=1) / 12**0.5), 12, "difference")
    ours = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    assert found == pytest.approx((ours.low, ours.high))


def test_of_fewer_than_three_subjects_or_without_spread_there_is_no_interval():
    assert t_interval(0.5, 0.1, 2, "fraction") is None
    assert t_interval(0.5, 0.1, 3, "fraction") is not None
    assert t_interval(0.5, 0.0, 3, "fraction") is None
    assert Estimate.of_mean([]) == Estimate(value=None)
    assert Estimate.of_mean([0.25, 0.75]) == Estimate(value=0.5)
    assert Estimate.of_mean([1.0, 1.0, 1.0]) == Estimate(value=1.0)


@given(value=st.floats(0.05, 0.95), error=st.floats(0.01, 0.2), a=st.floats(-1, 1), b=st.floats(-1, 1))
def test_the_bound_covers_values_and_errors_within_theirs(value, error, a, b):
    bound = error_bound(value, error, 10, "fraction", 0.01, 0.005)
    moved = np.array(t_interval(value + a * 0.01, error + b * 0.005, 10, "fraction"))
    assert np.abs(moved - t_interval(value, error, 10, "fraction")).max() <= bound + 1e-12


def test_the_mean_of_five_subjects_is_held_more_often_than_nine_times_in_ten():
    rng = np.random.default_rng(0)
    estimates = [Estimate.of_mean(rng.beta(0.5, 2, 5).tolist()) for _ in range(2000)]
    held = np.mean([each.low <= 0.2 <= each.high for each in estimates])
    assert 0.9 < held < 0.97
