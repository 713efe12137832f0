"""Pixel metrics against scikit-learn and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_maps import brute_force, fill, make_maps, pool, rereader, several_scores
from sklearn.metrics import average_precision_score, roc_auc_score

from adbench.errors import ScoreError
from adbench.metrics import bins as bins_module
from adbench.metrics import curve as curve_module
from adbench.metrics import maps as maps_module
from adbench.metrics.bins import Bins
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.intervals import Bounded, bootstrap, resample_weights
from adbench.metrics.maps import Maps, check_scores, ordered, value_of
from adbench.metrics.pixels import pixel_metrics


@pytest.fixture
def few_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small limits, so that small maps share bins, are sampled in part and are read again piece by piece."""
    monkeypatch.setattr(maps_module, "_PIECE", 37)
    monkeypatch.setattr(bins_module, "FINE", 24)
    monkeypatch.setattr(bins_module, "COARSE", 10)
    monkeypatch.setattr(bins_module, "_SAMPLE", 100)
    monkeypatch.setattr(bins_module, "_TABLE", 3)
    monkeypatch.setattr(curve_module, "_GATHERED", 50)


@several_scores
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_best_dice_is_that_of_brute_force(shape: str, seed: int) -> None:
    maps = make_maps(shape, seed)
    found = pixel_metrics(rereader(maps))
    assert (found.best_dice, found.best_threshold) == brute_force(*pool(maps))


@several_scores
@pytest.mark.usefixtures("few_bins")
def test_best_dice_stays_exact_where_cells_are_wide_and_read_again_a_few_at_a_time(shape: str) -> None:
    for seed in range(8):
        maps = make_maps(shape, seed)
        found = pixel_metrics(rereader(maps))
        assert (found.best_dice, found.best_threshold) == brute_force(*pool(maps))


@several_scores
@pytest.mark.usefixtures("few_bins")
def test_auprc_and_auroc_of_wide_cells_are_those_of_scikit_learn_within_the_bound(shape: str) -> None:
    for seed in range(8):
        maps = make_maps(shape, seed)
        scores, lesion = pool(maps)
        found = pixel_metrics(rereader(maps))
        auprc, auroc = average_precision_score(lesion, scores), roc_auc_score(lesion, scores)
        assert abs(found.auprc - auprc) <= found.auprc_error_bound + 1e-9
        assert abs(found.auroc - auroc) <= found.auroc_error_bound + 1e-9


@several_scores
def test_auprc_and_auroc_are_exact_where_each_value_has_a_cell(shape: str) -> None:
    maps = make_maps(shape, 3)
    scores, lesion = pool(maps)
    found = pixel_metrics(rereader(maps))
    assert found.auprc == pytest.approx(average_precision_score(lesion, scores), abs=1e-12)
    assert found.auroc == pytest.approx(roc_auc_score(lesion, scores), abs=1e-12)
    assert (found.auprc_error_bound, found.auroc_error_bound) == (0, 0)


def test_the_bounds_of_many_pixels_are_small() -> None:
    maps = make_maps("continuous", 0, subjects=5, pixels=20_000, lesion=0.05)
    scores, lesion = pool(maps)
    found = pixel_metrics(rereader(maps))
    assert 0 < found.auprc_error_bound < 1e-3
    assert 0 < found.auroc_error_bound < 1e-4
    assert abs(found.auprc - average_precision_score(lesion, scores)) < 1e-4


def test_the_auprc_bound_covers_the_worst_and_the_best_order_inside_a_cell() -> None:
    labels = np.array([True] * 3 + [False] * 5)
    inside = np.linspace(1, 2, 8, dtype=np.float32)
    hist = ScoreHistogram(Bins(ordered(np.array([0.5, 3], np.float32)), np.array([True, True])))
    hist.add("s", inside, labels)
    found = pixel_metrics(lambda: [("s", inside, labels, None)], hist)
    worst, best = average_precision_score(labels, inside), average_precision_score(labels, -inside)
    assert worst >= found.auprc - found.auprc_error_bound - 1e-12
    assert best == pytest.approx(found.auprc + found.auprc_error_bound, abs=1e-12)


def test_scores_that_changed_before_they_are_read_again_are_refused() -> None:
    maps = make_maps("continuous", 0, pixels=5000)
    hist = fill(maps)
    with pytest.raises(ScoreError, match="read again must equal"):
        pixel_metrics(rereader(make_maps("continuous", 1, pixels=5000)), hist)
    with pytest.raises(ScoreError, match="read again must equal"):
        pixel_metrics(lambda: iter(()), hist)


@settings(max_examples=20)
@given(order=st.permutations(range(8)))
def test_the_order_of_adding_does_not_matter(order: list[int]) -> None:
    maps = make_maps("signed", 1) + make_maps("zeros of both signs", 2)
    first = fill(maps)
    again = ScoreHistogram(first.bins)
    for i in order:
        again.add(*maps[i])
    assert_same(first, again)


def assert_same(a: ScoreHistogram, b: ScoreHistogram) -> None:
    assert a.subjects == b.subjects
    np.testing.assert_array_equal(a.pooled(), b.pooled())
    np.testing.assert_array_equal(a.by_subject(), b.by_subject())


@several_scores
@pytest.mark.usefixtures("few_bins")
def test_every_score_is_counted_in_the_cell_between_its_edges(shape: str) -> None:
    scores, _ = pool(make_maps(shape, 6, pixels=400))
    bins = Bins.choose([("s", scores, scores > 1, None)])
    edges = value_of(bins.edges).astype(np.float64)
    np.testing.assert_array_equal(bins.find(ordered(scores)), [(edges <= score).sum() for score in scores])
    assert bins.n_fine <= 24
    assert bins.coarse_starts.size <= 10


def test_a_map_counts_the_same_whole_in_slices_and_in_any_layout() -> None:
    rng = np.random.default_rng(0)
    scores, lesion = rng.normal(size=(6, 9, 8)).astype(np.float32), rng.random((6, 9, 8)) < 0.3
    whole = fill([("s", scores, lesion, None)])
    slices, turned = ScoreHistogram(whole.bins), ScoreHistogram(whole.bins)
    for s, m in zip(scores, lesion, strict=True):
        slices.add("s", s, m)
    turned.add("s", scores.T, lesion.T.astype(np.uint8))
    assert_same(whole, slices)
    assert_same(whole, turned)


def test_pixels_that_are_not_valid_leave_every_metric() -> None:
    maps = make_maps("continuous", 5)
    rng = np.random.default_rng(0)
    masked: list[Maps] = []
    kept: list[Maps] = []
    for subject, scores, lesion, _ in maps:
        valid = rng.random(scores.shape) < 0.6
        kept.append((subject, scores[valid], lesion[valid], None))
        masked.append((subject, np.where(valid, scores, np.float32(np.nan)), lesion, valid))
    found = pixel_metrics(rereader(masked))
    assert found == pixel_metrics(rereader(kept))


def test_zeros_of_both_signs_tie_and_negative_scores_rank_below() -> None:
    scores = np.array([0.0, -0.0, -1e-30, 1e-30], np.float32)
    lesion = np.array([True, False, False, False])
    found = pixel_metrics(lambda: [("s", scores, lesion, None)])
    assert found.best_dice == pytest.approx(0.5)  # flags 1e-30 and both zeros
    assert found.auroc == pytest.approx((0.5 + 1) / 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_scores_that_are_not_finite_are_refused_and_count_nothing(bad: float) -> None:
    hist = ScoreHistogram(fill(make_maps("signed", 0)).bins)
    scores = np.array([0.5, bad])
    with pytest.raises(ScoreError, match="must be finite"):
        hist.add("s", scores, np.array([True, False]))
    with pytest.raises(ScoreError, match="1 of 2"):
        check_scores(scores, (2,))
    assert hist.subjects == []
    assert hist.positives + hist.negatives == 0


def test_wrong_shapes_are_refused_with_both_shapes_named() -> None:
    with pytest.raises(ScoreError, match=r"\(2, 1, 4, 4\); received \(2, 4, 4\)"):
        check_scores(np.zeros((2, 4, 4)), (2, 1, 4, 4))
    with pytest.raises(ScoreError, match=r"'s' has \(4,\), \(5,\)"):
        fill([("s", np.zeros(4), np.zeros(5, bool), None)])
    with pytest.raises(ScoreError, match="share a shape"):
        fill([("s", np.zeros(4), np.zeros(4, bool), np.zeros((4, 1), bool))])


def test_checked_scores_are_float32_with_their_values_untouched() -> None:
    checked = check_scores(np.array([[-3, 7]]), (1, 2))
    assert checked.dtype == np.float32
    assert checked.tolist() == [[-3.0, 7.0]]


def intervals(maps: list[Maps], resamples: int = 10) -> dict[str, Bounded]:
    hist = fill(maps)
    return bootstrap(hist, resample_weights(hist.subjects, resamples))


def test_metrics_without_a_lesion_pixel_are_none() -> None:
    maps: list[Maps] = [(name, np.ones(4, np.float32), np.zeros(4, bool), None) for name in "st"]
    found = pixel_metrics(rereader(maps))
    assert (found.best_dice, found.best_threshold, found.auprc, found.auroc) == (None,) * 4
    assert (found.auprc_error_bound, found.auroc_error_bound) == (None,) * 2
    assert found.prevalence == 0.0
    assert set(intervals(maps).values()) == {Bounded(None)}


def test_metrics_of_nothing_but_lesion_are_one_and_auroc_is_none() -> None:
    maps: list[Maps] = [(name, np.arange(4, dtype=np.float32), np.ones(4, bool), None) for name in "st"]
    found = pixel_metrics(rereader(maps))
    assert (found.best_dice, found.auprc, found.auroc, found.prevalence) == (1.0, 1.0, None, 1.0)
    assert set(intervals(maps).values()) == {Bounded(None)}, "all resamples agree"


def test_metrics_of_no_pixels_are_none() -> None:
    empty: list[Maps] = [("s", np.zeros(3, np.float32), np.zeros(3, bool), np.zeros(3, bool))]
    for maps in ([], empty):
        found = pixel_metrics(rereader(maps))
        assert (found.best_dice, found.auroc, found.prevalence) == (None, None, None)
        assert set(intervals(maps).values()) == {Bounded(None)}
