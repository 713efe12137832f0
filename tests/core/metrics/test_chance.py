"""Sign flips, Holm, ranks and seeds against scipy, by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import logit

from adbench.metrics.chance import ALPHA, EXACT, compare, enough, holm, least_detectable, over_seeds, sign_flip_p
from adbench.metrics.estimate import Estimate
from adbench.metrics.student import t_interval

DIFFERENCES = arrays(np.float64, st.integers(2, 9), elements=st.floats(-1, 1).map(lambda x: round(x, 3)))


@given(DIFFERENCES)
def test_all_flips_give_the_p_of_scipy(differences):
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    both = min(1.0, float(np.mean(np.abs(expected.null_distribution) >= abs(differences.mean()) - 1e-12)))
    assert sign_flip_p(differences, 100) == pytest.approx(both)


@given(DIFFERENCES)
def test_p_does_not_depend_on_sides_or_scale(differences):
    p = sign_flip_p(differences, 100)
    assert 0 < p <= 1
    assert p == sign_flip_p(-differences, 100) == sign_flip_p(4 * differences, 100)


def test_random_flips_come_near_to_all_of_them():
    differences = np.random.default_rng(0).normal(0.3, 1, EXACT + 2)
    signs = 1 - 2 * (np.arange(2 ** len(differences))[:, None] >> np.arange(len(differences)) & 1)
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
    assert sign_flip_p(differences, 20_000) == pytest.approx(exact, abs=0.02)


def test_the_least_p_of_random_flips_is_that_of_their_number():
    assert sign_flip_p(np.ones(50), 999) == pytest.approx(1 / 1000)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_stepping_down_by_hand_rejects(p):
    rejected = set()
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] > ALPHA / (len(p) - step):
            break
        rejected.add(i)
    adjusted = holm(p)
    margin = [abs(a - ALPHA) < 1e-12 for a in adjusted]  # at the limit itself rounding decides
    assert all((a <= ALPHA) == (i in rejected) or margin[i] for i, a in enumerate(adjusted))
    assert all(a >= q for a, q in zip(adjusted, p, strict=True))


@pytest.mark.parametrize(
    ("n", "pairs", "can"), [(5, 1, False), (6, 1, True), (9, 10, True), (8, 10, False), (2, 0, True)]
)
def test_few_subjects_cannot_show_a_difference(n, pairs, can):
    assert enough(n, pairs) is can
    if pairs:
        assert (pairs * sign_flip_p(np.ones(n), 100) <= ALPHA) is can, "the largest difference that there is"


def test_ranks_count_the_methods_that_are_significantly_better():
    rng = np.random.default_rng(0)
    subjects = rng.normal(0.5, 0.2, 40)
    values = np.stack([subjects + rng.normal(shift, 0.02, 40) for shift in (0.2, 0.0, 0.2, -0.3)])
    comparison = compare(values)
    assert comparison.ranks == [1, 3, 1, 4]
    assert comparison.better(1) == [0, 2]
    assert not comparison.differ(0, 2)
    assert comparison.ranks == [compare(values[::-1]).ranks[::-1][i] for i in range(4)], "whatever their order"


def test_equal_methods_share_the_first_rank():
    assert compare(np.tile(np.random.default_rng(0).random(30), (3, 1))).ranks == [1, 1, 1]


def test_a_difference_of_the_least_detectable_size_is_found_four_times_in_five():
    rng, n, found, draws = np.random.default_rng(0), 30, 0, 400
    for _ in range(draws):
        values = rng.normal(0, 0.1, (2, n))
        detectable = least_detectable(values, 1)
        found += stats.ttest_1samp(values[0] + detectable - values[1], 0).pvalue <= ALPHA
    assert found / draws == pytest.approx(0.8, abs=0.1)
    assert least_detectable(np.ones((1, 5)), 0) is None


@given(st.floats(0.05, 0.95), st.floats(0.01, 0.2))
def test_one_seed_is_left_as_it_is(value, error):
    estimate = Estimate.of(value, t_interval(value, error, 20, "fraction"))
    assert over_seeds([estimate], "fraction") == (estimate, None)


@given(st.lists(st.floats(0.2, 0.8), min_size=2, max_size=5), st.floats(0.01, 0.1))
def test_seeds_that_differ_widen_the_interval_of_subjects(values, error):
    each = [Estimate.of(value, t_interval(value, error, 20, "fraction")) for value in values]
    pooled, sd = over_seeds(each, "fraction")
    assert pooled.value == pytest.approx(np.mean(values))
    assert sd == pytest.approx(np.std(values, ddof=1))
    assert 0 <= pooled.low <= pooled.value <= pooled.high <= 1
    widths = [logit(e.high) - logit(e.low) for e in each]
    assert logit(pooled.high) - logit(pooled.low) >= np.mean(widths) - 1e-9


def test_seeds_that_agree_have_the_interval_of_one():
    one = Estimate.of(0.4, t_interval(0.4, 0.05, 20, "fraction"))
    pooled, sd = over_seeds([one, one, one], "fraction")
    assert sd == pytest.approx(0, abs=1e-12)
    assert (pooled.low, pooled.high) == pytest.approx((one.low, one.high))


def test_a_metric_that_one_seed_lacks_has_no_mean():
    assert over_seeds([Estimate(value=0.5), Estimate(value=None)], "fraction") == (Estimate(value=None), None)
    assert over_seeds([Estimate(value=0.5), Estimate(value=0.6)], "count")[0] == Estimate(value=0.55)


def test_the_spread_of_seeds_can_hide_a_difference_that_flips_alone_would_show():
    rng = np.random.default_rng(0)
    base = rng.random(50)
    values = np.stack([base + 0.05, base + rng.normal(0, 0.001, 50)])
    wide, narrow = (
        [np.array([-0.1, 0.05, 0.2]), np.array([0.0, 0.0, 0.0])],
        [np.array([0.05, 0.051]), np.array([0.0, 0.001])],
    )
    assert compare(values).differ(0, 1)
    assert compare(values, narrow).differ(0, 1)
    assert not compare(values, wide).differ(0, 1)


@given(arrays(np.float64, (2, 20), elements=st.floats(0, 1)))
def test_single_seeds_leave_p_to_the_flips(values):
    assert compare(values, [values[0, :1], values[1, :1]]).pairs == compare(values).pairs


def test_with_subjects_that_all_agree_p_is_that_of_welch_over_seeds():
    seeds = [np.array([0.1, 0.2, 0.4, 0.3]), np.array([0.3, 0.5, 0.4])]
    values = np.stack([np.full(30, of.mean()) for of in seeds])
    expected = stats.ttest_ind(*seeds, equal_var=False).pvalue
    assert compare(values, seeds).pairs[0, 1] == pytest.approx(expected)


@pytest.mark.parametrize("n", [10, 40])
def test_all_pairs_together_have_the_p_of_each_pair_alone(n):
    values = np.random.default_rng(0).normal(0, 1, (4, n)) + np.arange(4)[:, None] / 3
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    alone = holm([sign_flip_p(values[i] - values[j], 1200) for i, j in pairs])
    assert [compare(values).pairs[pair] for pair in pairs] == pytest.approx(alone)
