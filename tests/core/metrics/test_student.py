"""Intervals of Student's t stay within what a number can be, and hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adbench.metrics.estimate import Estimate
from adbench.metrics.student import error_bound, freedom_of, t_interval

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
    for freedom in (None, 1.5):
        bound = error_bound(value, error, 10, "fraction", 0.01, 0.005, freedom)
        moved = np.array(t_interval(value + a * 0.01, error + b * 0.005, 10, "fraction", freedom))
        assert np.abs(moved - t_interval(value, error, 10, "fraction", freedom)).max() <= bound + 1e-12


@given(n=st.integers(2, 200), size=st.integers(1, 10**9))
def test_subjects_of_one_size_have_all_degrees_of_freedom_and_empty_ones_none(n: int, size: int):
    assert freedom_of(np.full(n, size)) == pytest.approx(n - 1)
    assert freedom_of(np.append(np.full(n, size), [0, 0])) == pytest.approx(n - 1)


@given(sizes=st.lists(st.integers(0, 10**6), min_size=2, max_size=50))
def test_the_fewer_subjects_hold_the_lesions_the_fewer_degrees_of_freedom(sizes: list[int]):
    at = freedom_of(np.array(sizes))
    assert 1 <= at <= max(len(sizes) - 1, 1) + 1e-9
    assert freedom_of(np.array([10**9, *sizes])) == pytest.approx(1.0, abs=0.1), "one has nearly all"


def test_degrees_of_freedom_are_those_of_a_weighted_sum_of_squares():
    """Twice the squared mean over the variance is the degrees of freedom of a chi-squared variable."""
    sizes = np.array([9, 5, 5, 3, 3, 2, 1, 1])
    sums = np.random.default_rng(0).normal(size=(200_000, sizes.size)) ** 2 @ sizes**2
    assert freedom_of(sizes) + 1 == pytest.approx(2 * sums.mean() ** 2 / sums.var(), rel=0.02)


def test_the_mean_of_five_subjects_is_held_more_often_than_nine_times_in_ten():
    rng = np.random.default_rng(0)
    estimates = [Estimate.of_mean(rng.beta(0.5, 2, 5).tolist()) for _ in range(2000)]
    held = np.mean([each.low <= 0.2 <= each.high for each in estimates])
    assert 0.9 < held < 0.97
