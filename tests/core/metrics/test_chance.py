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


@pytest.mark.parametrize("n", [5, EXACT + 5])
def test_the_p_of_many_differences_are_those_of_each(n):
    many = np.random.default_rng(0).normal(0.3, 1, (4, n))
    assert list(sign_flip_p(many, 10_000)) == [sign_flip_p(one, 10_000) for one in many]


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
        assert bool(pairs * sign_flip_p(np.ones(n), 100) <= ALPHA) is can, "the largest difference that there is"


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


def seeds_of(values: list[float], error: float = 0.05, scale: str = "fraction"):
    """Values of seeds with their intervals over 20 subjects, one number each."""
    ends = [t_interval(value, error, 20, scale) for value in values]
    return over_seeds(np.array(values), *(np.array(end) for end in zip(*ends, strict=True)), scale)


@given(st.floats(0.05, 0.95), st.floats(0.01, 0.2))
def test_one_seed_is_left_as_it_is(value, error):
    pooled = seeds_of([value], error)
    assert (pooled.mean, pooled.low, pooled.high) == (value, *t_interval(value, error, 20, "fraction"))
    assert np.isnan(pooled.sd)


@given(st.lists(st.floats(0.2, 0.8), min_size=2, max_size=5), st.floats(0.01, 0.1))
def test_seeds_that_differ_widen_the_interval_of_subjects(values, error):
    pooled = seeds_of(values, error)
    assert pooled.mean == pytest.approx(np.mean(values))
    assert pooled.sd == pytest.approx(np.std(values, ddof=1))
    assert 0 <= pooled.low <= pooled.mean <= pooled.high <= 1
    widths = [logit(high) - logit(low) for low, high in (t_interval(v, error, 20, "fraction") for v in values)]
    assert logit(pooled.high) - logit(pooled.low) >= np.mean(widths) - 1e-9


def test_seeds_that_agree_have_the_interval_of_one():
    pooled = seeds_of([0.4, 0.4, 0.4])
    assert pooled.sd == pytest.approx(0, abs=1e-12)
    assert (pooled.low, pooled.high) == pytest.approx(t_interval(0.4, 0.05, 20, "fraction"))


def test_a_metric_that_one_seed_lacks_has_no_mean_and_one_without_intervals_a_mean_alone():
    lacks = over_seeds(np.array([0.5, np.nan]), np.array([0.4, np.nan]), np.array([0.6, np.nan]), "fraction")
    assert np.isnan([lacks.mean, lacks.sd, lacks.low, lacks.high]).all()
    none = np.array([np.nan, np.nan])
    alone = over_seeds(np.array([0.5, 0.6]), none, none, "count")
    assert alone.mean == pytest.approx(0.55)
    assert np.isnan([alone.low, alone.high]).all()


@pytest.mark.parametrize("scale", ["fraction", "count", "difference"])
def test_numbers_of_any_shape_are_pooled_one_by_one(scale):
    values = np.random.default_rng(0).uniform(0.2, 0.8, (3, 2, 4))
    pooled = over_seeds(values, values - 0.1, values + 0.1, scale)
    for at in np.ndindex(2, 4):
        one = values[(slice(None), *at)]
        alone = over_seeds(one, one - 0.1, one + 0.1, scale)
        for field in ("mean", "sd", "low", "high"):
            assert getattr(pooled, field)[at] == pytest.approx(float(getattr(alone, field)))


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
