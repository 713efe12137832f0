"""Intervals and differences, and image-level metrics: by explicit resampling and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm
from scipy.stats import t as student
from score_maps import fill, make_maps, rereader
from sklearn.metrics import average_precision_score, roc_auc_score

from adbench.errors import ScoreError
from adbench.metrics import bins as bins_module
from adbench.metrics.catalogue.subject_auprc import subject_auprc
from adbench.metrics.differences import pooled_differences, recentred_p
from adbench.metrics.estimate import Estimate
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.images import image_metrics
from adbench.metrics.intervals import Bounded, bootstrap, ratio, resample_weights
from adbench.metrics.maps import Maps
from adbench.metrics.pixels import pixel_metrics
from adbench.metrics.resampled_thresholds import HEALTHY_SEED, RESAMPLED, draws_at, interval_at
from adbench.metrics.thresholds import healthy_thresholds

NAMES = ("best_dice", "auprc", "auroc")
EACH = [f"s{i}" for i in range(200)]
"""A subject an image."""


def repeat(maps: list[Maps], times: np.ndarray) -> list[Maps]:
    """Each subject as often as drawn, each time under another name."""
    return [(f"{one[0]} {k}", *one[1:]) for one, n in zip(maps, times, strict=True) for k in range(n)]


def expected(value: float, draws: list[float | None], n: int, freedom: float | None = None) -> np.ndarray:
    """Student's t on the logit: the spread of resamples, widened by the root of n / (n - 1)."""
    error = np.std([draw for draw in draws if draw is not None], ddof=1) * np.sqrt(n / (n - 1))
    middle = np.log(value / (1 - value))
    reach = student.ppf(0.975, freedom or n - 1) * error / (value * (1 - value))
    return 1 / (1 + np.exp(-(middle + np.array([-reach, reach]))))


def explicit(maps: list[Maps], weights: np.ndarray, name: str) -> np.ndarray:
    """The ends of the interval, with every resample measured anew."""
    draws = [getattr(pixel_metrics(rereader(repeat(maps, row))), name) for row in weights]
    return expected(getattr(pixel_metrics(rereader(maps)), name), draws, len(maps), by_size(maps))


def by_size(maps: list[Maps]) -> float:
    """Satterthwaite's degrees of freedom of a variance of squares weighted by the squares of shares."""
    shares = np.array([np.count_nonzero(m if v is None else m & v) for _, _, m, v in maps])
    squares = (shares / shares.sum()) ** 2
    return max(squares.sum() ** 2 / (squares**2).sum() - 1, 1.0)


def points(maps: list[Maps]) -> dict[str, float]:
    found = pixel_metrics(rereader(maps))
    return {name: getattr(found, name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_bootstrap_is_the_explicit_resampling_of_subjects(name: str) -> None:
    maps = make_maps("few values", 4, subjects=5)
    weights = resample_weights([name for name, *_ in maps], 60, seed=3)
    found = bootstrap(fill(maps[::-1]), weights)[name]
    assert found.interval == pytest.approx(explicit(maps, weights, name), abs=1e-9)
    assert found.error_bound == 0


@pytest.mark.parametrize("shape", ["continuous", "wide range", "close together"])
@pytest.mark.parametrize("name", NAMES)
def test_the_bound_covers_what_the_cells_do_to_an_interval(shape: str, name: str, monkeypatch) -> None:
    monkeypatch.setattr(bins_module, "COARSE", 40)
    maps = make_maps(shape, 8, subjects=8)
    weights = resample_weights([name for name, *_ in maps], 40)
    found = bootstrap(fill(maps), weights, points(maps))[name]
    assert found.interval is not None
    away = np.abs(np.array(found.interval) - explicit(maps, weights, name)).max()
    assert away <= found.error_bound + 1e-9
    assert 0 < found.error_bound < 0.6
    assert 0 <= found.interval[0] <= found.interval[1] <= 1


def test_bootstrap_intervals_hold_the_point_estimates_of_ordinary_data() -> None:
    maps = make_maps("continuous", 8, subjects=30)
    found, hist = pixel_metrics(rereader(maps)), fill(maps)
    for name, bounded in bootstrap(hist, resample_weights(hist.subjects, 300)).items():
        assert bounded.interval[0] < getattr(found, name) < bounded.interval[1]


def test_resamples_depend_on_the_seed_and_the_number_of_subjects_only() -> None:
    weights = resample_weights(["b", "a", "c"], 50, seed=1)
    assert weights.shape == (50, 3)
    assert (weights.sum(axis=1) == 3).all()
    np.testing.assert_array_equal(weights, resample_weights(["c", "b", "a"], 50, seed=1))
    assert (weights != resample_weights(["a", "b", "c"], 50, seed=2)).any()


def test_a_difference_is_narrower_than_the_interval_of_either_method() -> None:
    maps = make_maps("continuous", 9, subjects=20)
    worse = [(n, (s + 0.01 * np.sin(997 * s)).astype(np.float32), m, v) for n, s, m, v in maps]
    a, b, weights = fill(maps), fill(worse), resample_weights([n for n, *_ in maps], 200)
    low, high = pooled_differences([a], [b], weights)["auprc"].bounded.interval
    alone = bootstrap(a, weights)["auprc"].interval
    assert high - low < (alone[1] - alone[0]) / 2
    assert low < pixel_metrics(rereader(maps)).auprc - pixel_metrics(rereader(worse)).auprc < high


def test_scores_that_rank_alike_do_not_differ() -> None:
    maps = make_maps("continuous", 9, subjects=20, pixels=3000)
    roots = [(n, np.sqrt(s).astype(np.float32), m, v) for n, s, m, v in maps]
    weights = resample_weights([n for n, *_ in maps], 200)
    for found in pooled_differences([fill(maps)], [fill(roots)], weights).values():
        assert (found.bounded, found.p) == (Bounded(None), 1.0)


def test_a_difference_is_of_the_means_over_trainings() -> None:
    sides = [fill(make_maps("continuous", seed, subjects=20, pixels=500)) for seed in (1, 2, 3)]
    weights = resample_weights(sides[0].subjects, 200)
    found = pooled_differences(sides[:2], sides[2:], weights)["auprc"]
    alone = [pooled_differences([side], sides[2:], weights)["auprc"] for side in sides[:2]]
    assert found.a == pytest.approx(np.mean([each.a for each in alone]))
    assert found.a - found.b == pytest.approx(np.mean([each.a - each.b for each in alone]))


def test_p_of_a_recentred_bootstrap_is_that_of_a_normal_difference() -> None:
    rng = np.random.default_rng(0)
    for value in (0.0, 0.5, 2.0):
        draws = value + rng.normal(size=50_000)
        assert recentred_p(value, draws) == pytest.approx(2 * norm.sf(value), abs=0.01)
    assert recentred_p(9.0, 9 + rng.normal(size=999)) == pytest.approx(1 / 1000)
    assert recentred_p(0.1, np.full(9, np.nan)) == 1.0


def test_of_one_subject_there_is_no_interval() -> None:
    hist = fill(make_maps("continuous", 2, subjects=1))
    weights = resample_weights(hist.subjects)
    none = dict.fromkeys(NAMES, Bounded(None))
    assert bootstrap(hist, weights) == none
    assert {key: of.bounded for key, of in pooled_differences([hist], [hist], weights).items()} == none
    images = image_metrics(np.array([0.1, 0.4, 0.3]), np.array([False, True, False]), ["a"] * 3, 1000)
    assert images.image_auroc == 1
    assert images.image_auroc_interval is images.image_auprc_interval is None


def test_a_difference_needs_the_same_subjects_and_a_bootstrap_a_weight_for_each() -> None:
    maps = make_maps("continuous", 9)
    hist = fill(maps)
    with pytest.raises(ScoreError, match="1 are on one only, such as 's3'"):
        pooled_differences([hist], [fill(maps[:3])], resample_weights(hist.subjects))
    with pytest.raises(ScoreError, match="one column a subject"):
        bootstrap(hist, np.ones((10, 3), np.int64))


def test_a_ratio_leaves_out_resamples_without_any_of_the_whole() -> None:
    weights = np.array([[3, 0, 0, 0], [1, 1, 1, 0], [0, 3, 0, 0], [0, 0, 0, 3]])
    part, whole = np.array([1.0, 3.0, 2.0, 0.0]), np.array([4.0, 4.0, 4.0, 0.0])
    ends = expected(0.5, [0.25, 0.5, 0.75], 3)
    found = ratio(part, whole, weights)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, *ends), abs=1e-9)
    assert ratio(np.zeros(4), np.zeros(4), weights) == Estimate(value=None)
    assert ratio(part[:1], whole[:1], weights[:, :1]) == Estimate(value=0.25), "of one subject"


def at_threshold(maps: list[Maps], threshold: float) -> dict[str, float]:
    """Numbers at a threshold, one subject after the other."""
    counts = [((s > threshold) & m, s > threshold, m) for _, s, m, _ in maps]
    sums = np.array([[np.count_nonzero(each) for each in of] for of in counts], np.float64)
    hits, flagged, lesion = sums.sum(axis=0)
    own = 2 * sums[:, 0] / (sums[:, 1] + sums[:, 2])
    return {"dice": 2 * hits / (flagged + lesion), "subject_dice": own.mean(), "sensitivity": hits / lesion}


@settings(max_examples=6)
@given(seed=st.integers(0, 99), shape=st.sampled_from(["few values", "continuous", "close together"]))
def test_intervals_at_a_rate_draw_test_and_healthy_subjects_within_their_bound(seed: int, shape: str):
    maps = make_maps(shape, seed, subjects=5)
    healthy = make_maps(shape, seed + 1, subjects=6, lesion=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bins_module, "COARSE", 60)
        test = fill(maps)
    counted = ScoreHistogram(test.bins)
    for one in healthy:
        counted.add(*one)
    weights = resample_weights(test.subjects, 20)
    (as_is,) = healthy_thresholds(rereader(healthy), [0.1])
    value = at_threshold(maps, as_is.threshold)
    of_test = [at_threshold(repeat(maps, row), as_is.threshold) for row in weights]
    of_healthy = []
    for row in resample_weights(counted.subjects, 20, HEALTHY_SEED):
        (other,) = healthy_thresholds(rereader(repeat(healthy, row)), [0.1])
        of_healthy.append(at_threshold(maps, other.threshold))
    found = draws_at(test, counted, 0.1, weights)
    for key in RESAMPLED:
        bounded = interval_at(key, value[key], found[key], test.by_subject()[0].sum(axis=1), 6)
        freedom = 4 if key == "subject_dice" else by_size(maps)
        over_test = student.ppf(0.975, freedom) * np.std([draw[key] for draw in of_test], ddof=1) * (5 / 4) ** 0.5
        over_healthy = student.ppf(0.975, 5) * np.std([draw[key] for draw in of_healthy], ddof=1) * (6 / 5) ** 0.5
        reach = np.hypot(over_test, over_healthy) / (value[key] * (1 - value[key]))
        ends = expit(logit(value[key]) + np.array([-reach, reach]))
        assert np.abs(bounded.interval - ends).max() <= bounded.error_bound + 1e-12
        assert (bounded.error_bound == 0) == (shape == "few values")


def test_two_healthy_subjects_say_nothing_of_other_thresholds() -> None:
    test, weights = fill(make_maps("few values", 0, subjects=5)), resample_weights(EACH[:5], 20)
    counted = ScoreHistogram(test.bins)
    for one in make_maps("few values", 1, subjects=2, lesion=0.0):
        counted.add(*one)
    for key, draws in draws_at(test, counted, 0.1, weights).items():
        assert interval_at(key, 0.5, draws, test.by_subject()[0].sum(axis=1), 2) == Bounded(None)


def test_image_metrics_are_those_of_scikit_learn_with_intervals_around_them() -> None:
    rng = np.random.default_rng(0)
    anomalous = rng.random(200) < 0.3
    scores = np.round(rng.normal(size=200) + anomalous, 1)
    found = image_metrics(scores, anomalous, EACH[: len(scores)], 200)
    assert found.image_auroc == roc_auc_score(anomalous, scores)
    assert found.image_auprc == average_precision_score(anomalous, scores)
    assert found.image_auroc_interval[0] < found.image_auroc < found.image_auroc_interval[1]
    assert found.image_auprc_interval[0] < found.image_auprc < found.image_auprc_interval[1]


def test_image_intervals_draw_whole_subjects() -> None:
    rng = np.random.default_rng(1)
    anomalous, scores = rng.random(40) < 0.5, rng.normal(size=40)
    subjects = [f"s{i // 10}" for i in range(40)]
    weights = resample_weights(subjects, 50)
    times = [np.repeat(row, 10) for row in weights]
    draws = [roc_auc_score(np.repeat(anomalous, t), np.repeat(scores, t)) for t in times]
    found = image_metrics(scores, anomalous, subjects, 50)
    assert found.image_auroc is not None
    assert found.image_auroc_interval == pytest.approx(expected(found.image_auroc, draws, 4), abs=1e-9)


def test_image_metrics_are_none_where_a_class_is_missing() -> None:
    healthy = image_metrics(np.arange(3.0), np.zeros(3, bool), EACH[:3], 10)
    assert (healthy.image_auroc, healthy.image_auprc, healthy.image_auprc_interval) == (None, None, None)
    anomalous = image_metrics(np.arange(3.0), np.ones(3, bool), EACH[:3], 10)
    assert (anomalous.image_auroc, anomalous.image_auprc) == (None, None), "any ranking would be perfect"


@pytest.mark.parametrize(
    ("scores", "anomalous"), [([0.1, np.nan], [0, 1]), ([0.1], [0, 1]), ([], []), ([[0.1]], [[1]])]
)
def test_image_scores_of_bad_shape_or_value_are_refused(scores: list, anomalous: list) -> None:
    with pytest.raises(ScoreError, match="Image scores"):
        image_metrics(np.array(scores), np.array(anomalous, bool), EACH[: len(scores)], 10)


@settings(max_examples=25)
@given(seed=st.integers(0, 99), shape=st.sampled_from(["continuous", "wide range", "signed"]), bins=st.integers(6, 60))
def test_the_bound_covers_what_the_bins_do_to_the_interval_of_subject_auprc(seed: int, shape: str, bins: int):
    maps = make_maps(shape, seed, subjects=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bins_module, "COARSE", bins)
        found, bounded = subject_auprc(fill(maps))
    exact = Estimate.of_mean([average_precision_score(m, s) for _, s, m, _ in maps])
    away = np.abs(np.subtract(bounded.interval, (exact.low, exact.high))).max()
    assert away <= bounded.error_bound + 1e-12
    assert (found.low, found.high) == bounded.interval
    assert bounded.error_bound < 1
