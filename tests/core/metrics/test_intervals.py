"""Intervals and paired differences, and image-level metrics: by explicit resampling and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_maps import Maps, dice, fill, make_maps, pool, rereader
from sklearn.metrics import average_precision_score, roc_auc_score

from adbench.errors import ScoreError
from adbench.metrics.dice import DiceAt
from adbench.metrics.images import image_metrics
from adbench.metrics.intervals import bootstrap, paired_difference, resample_weights
from adbench.metrics.pixels import pixel_metrics


def test_bootstrap_is_the_explicit_resampling_of_subjects() -> None:
    maps = make_maps("few values", 4, subjects=5)
    weights = resample_weights([name for name, *_ in maps], 60, seed=3)
    explicit = [pixel_metrics(fill(repeat(maps, row))) for row in weights]
    found = bootstrap(fill(maps[::-1]), weights=weights)
    for name in ("best_dice", "auprc", "auroc"):
        expected = np.percentile([getattr(one, name) for one in explicit], [2.5, 97.5])
        assert found[name] == pytest.approx(expected, abs=1e-12)
    assert found == bootstrap(fill(maps), 60, seed=3)


def test_the_interval_of_dice_at_a_threshold_uses_the_same_resamples() -> None:
    maps = make_maps("signed", 4, subjects=5)
    weights = resample_weights([name for name, *_ in maps], 60, seed=3)
    counted = DiceAt(0.5)
    for one in maps:
        counted.add(*one)
    expected = np.percentile([dice(*pool(repeat(maps, row)), 0.5) for row in weights], [2.5, 97.5])
    assert counted.interval(60, seed=3) == pytest.approx(expected, abs=1e-12)


def repeat(maps: list[Maps], times: np.ndarray) -> list[Maps]:
    return [one for one, n in zip(maps, times, strict=True) for _ in range(n)]


def test_bootstrap_intervals_hold_the_point_estimates_of_ordinary_data() -> None:
    hist = fill(make_maps("continuous", 8, subjects=30))
    found = pixel_metrics(hist)
    for name, interval in bootstrap(hist, 300).items():
        assert interval[0] < getattr(found, name) < interval[1]


def test_resamples_depend_on_the_seed_and_the_number_of_subjects_only() -> None:
    weights = resample_weights(["b", "a", "c"], 50, seed=1)
    assert weights.shape == (50, 3)
    assert (weights.sum(axis=1) == 3).all()
    np.testing.assert_array_equal(weights, resample_weights(["c", "b", "a"], 50, seed=1))
    assert (weights != resample_weights(["a", "b", "c"], 50, seed=2)).any()


def test_a_paired_difference_is_narrower_than_the_interval_of_either_method() -> None:
    maps = make_maps("continuous", 9, subjects=20)
    worse = [(n, (s + 0.01 * np.sin(997 * s)).astype(np.float32), m, v) for n, s, m, v in maps]
    a, b = fill(maps), fill(worse)
    points = pixel_metrics(a, rereader(maps)), pixel_metrics(b, rereader(worse))
    low, high = paired_difference(a, b, 200, points=points)["auprc"]
    alone = bootstrap(a, 200)["auprc"]
    assert high - low < (alone[1] - alone[0]) / 2
    assert low < points[0].auprc - points[1].auprc < high


@pytest.mark.parametrize("again", [False, True])
def test_a_paired_difference_does_not_separate_scores_that_rank_alike(again: bool) -> None:
    maps = make_maps("continuous", 9, subjects=20, pixels=3000)
    roots = [(n, np.sqrt(s), m, v) for n, s, m, v in maps]  # the same ranking in half as many bins
    a, b = fill(maps), fill(roots)
    points = (pixel_metrics(a, rereader(maps)), pixel_metrics(b, rereader(roots))) if again else None
    for low, high in paired_difference(a, b, 200, points=points).values():
        assert low <= 0 <= high
        assert high - low < (0.01 if again else 0.1)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_point_shifts_the_interval_by_the_binning_error(seed: int) -> None:
    maps = make_maps("continuous", seed, subjects=6)
    hist = fill(maps)
    binned, exact = pixel_metrics(hist), pixel_metrics(hist, rereader(maps))
    for name, (low, high) in bootstrap(hist, 50).items():
        shift = getattr(exact, name) - getattr(binned, name)
        assert bootstrap(hist, 50, point=exact)[name] == pytest.approx((low + shift, high + shift), abs=1e-12)


def test_of_one_subject_there_is_no_interval() -> None:
    maps = make_maps("continuous", 2, subjects=1)
    hist, counted = fill(maps), DiceAt(0.5)
    counted.add(*maps[0])
    assert bootstrap(hist) == paired_difference(hist, hist) == dict.fromkeys(("best_dice", "auprc", "auroc"))
    assert counted.interval() is None
    images = image_metrics(np.array([0.1, 0.4, 0.3]), np.array([False, True, False]), subjects=["a"] * 3)
    assert images.image_auroc == 1
    assert images.image_auroc_interval is images.image_auprc_interval is None


def test_a_paired_difference_needs_the_same_subjects() -> None:
    maps = make_maps("continuous", 9)
    with pytest.raises(ScoreError, match="1 are on one only, such as 's3'"):
        paired_difference(fill(maps), fill(maps[:3]))
    with pytest.raises(ScoreError, match="one column a subject"):
        bootstrap(fill(maps), weights=np.ones((10, 3), np.int64))


def test_image_metrics_are_those_of_scikit_learn_with_intervals_around_them() -> None:
    rng = np.random.default_rng(0)
    anomalous = rng.random(200) < 0.3
    scores = np.round(rng.normal(size=200) + anomalous, 1)
    found = image_metrics(scores, anomalous, 200, seed=0)
    assert found.image_auroc == roc_auc_score(anomalous, scores)
    assert found.image_auprc == average_precision_score(anomalous, scores)
    assert found.image_auroc_interval[0] < found.image_auroc < found.image_auroc_interval[1]
    assert found.image_auprc_interval[0] < found.image_auprc < found.image_auprc_interval[1]


def test_image_intervals_draw_whole_subjects_when_told_to() -> None:
    rng = np.random.default_rng(1)
    anomalous, scores = rng.random(40) < 0.5, rng.normal(size=40)
    subjects = [f"s{i // 10}" for i in range(40)]
    weights = resample_weights(subjects, 50, seed=2)
    times = [np.repeat(row, 10) for row in weights]
    expected = [roc_auc_score(np.repeat(anomalous, t), np.repeat(scores, t)) for t in times]
    found = image_metrics(scores, anomalous, 50, seed=2, subjects=subjects)
    assert found.image_auroc_interval == pytest.approx(np.percentile(expected, [2.5, 97.5]), abs=1e-12)


def test_image_metrics_are_none_where_a_class_is_missing() -> None:
    healthy = image_metrics(np.arange(3.0), np.zeros(3, bool), 10)
    assert (healthy.image_auroc, healthy.image_auprc, healthy.image_auprc_interval) == (None, None, None)
    anomalous = image_metrics(np.arange(3.0), np.ones(3, bool), 10)
    assert (anomalous.image_auroc, anomalous.image_auprc) == (None, 1.0)


@pytest.mark.parametrize(
    ("scores", "anomalous"), [([0.1, np.nan], [0, 1]), ([0.1], [0, 1]), ([], []), ([[0.1]], [[1]])]
)
def test_image_scores_of_bad_shape_or_value_are_refused(scores: list, anomalous: list) -> None:
    with pytest.raises(ScoreError, match="Image scores"):
        image_metrics(np.array(scores), np.array(anomalous, bool), 10)
