"""Pixel metrics against scikit-learn and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_maps import Maps, brute_force, dice, fill, make_maps, pool, rereader, several_scores
from sklearn.metrics import average_precision_score, roc_auc_score

from adbench.errors import ScoreError
from adbench.metrics import curve as curve_module
from adbench.metrics import histogram as histogram_module
from adbench.metrics.dice import DiceAt
from adbench.metrics.histogram import ScoreHistogram, check_scores
from adbench.metrics.intervals import bootstrap
from adbench.metrics.pixels import pixel_metrics, quantile


@pytest.fixture
def tiny_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small limits, so that small maps take several chunks, several passes and the search by bisection."""
    monkeypatch.setattr(histogram_module, "_CHUNK", 37)
    monkeypatch.setattr(curve_module, "_CELLS", 64)
    monkeypatch.setattr(curve_module, "_LUT", 8)
    monkeypatch.setattr(curve_module, "_TOLERANCE", 0.05)


@several_scores
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_best_dice_is_that_of_brute_force_when_scores_are_read_again(kind: str, seed: int) -> None:
    maps = make_maps(kind, seed)
    found = pixel_metrics(fill(maps), rereader(maps))
    expected, threshold = brute_force(*pool(maps))
    assert (found.best_dice, found.best_threshold) == (expected, threshold)
    assert found.best_dice_error_bound == 0


@several_scores
@pytest.mark.usefixtures("tiny_passes")
def test_best_dice_stays_exact_over_many_small_passes(kind: str) -> None:
    for seed in range(5):
        maps = make_maps(kind, seed)
        found = pixel_metrics(fill(maps), rereader(maps))
        assert (found.best_dice, found.best_threshold) == brute_force(*pool(maps))


@several_scores
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_binned_best_dice_is_reached_at_its_threshold_and_within_its_bound(kind: str, seed: int) -> None:
    maps = make_maps(kind, seed)
    found = pixel_metrics(fill(maps))
    exact, _ = brute_force(*pool(maps))
    assert found.best_dice == dice(*pool(maps), found.best_threshold)
    assert found.best_dice <= exact <= found.best_dice + found.best_dice_error_bound + 1e-12


@several_scores
@pytest.mark.parametrize("again", [False, True])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_auprc_and_auroc_are_those_of_scikit_learn_within_the_bound(kind: str, again: bool, seed: int) -> None:
    maps = make_maps(kind, seed)
    scores, lesion = pool(maps)
    found = pixel_metrics(fill(maps), rereader(maps) if again else None)
    auprc, auroc = average_precision_score(lesion, scores), roc_auc_score(lesion, scores)
    assert abs(found.auprc - auprc) <= found.auprc_error_bound + 1e-9
    assert abs(found.auroc - auroc) <= found.auroc_error_bound + 1e-9


def test_auprc_and_auroc_are_exact_for_scores_that_fill_a_bin_each() -> None:
    maps = make_maps("few values", 3)
    scores, lesion = pool(maps)
    found = pixel_metrics(fill(maps))
    assert found.auprc == pytest.approx(average_precision_score(lesion, scores), abs=1e-12)
    assert found.auroc == pytest.approx(roc_auc_score(lesion, scores), abs=1e-12)


def test_reading_again_tightens_the_bounds() -> None:
    maps = make_maps("continuous", 0, subjects=5, pixels=20_000, lesion=0.05)
    once, again = pixel_metrics(fill(maps)), pixel_metrics(fill(maps), rereader(maps))
    assert again.auprc_error_bound < 5e-4 < once.auprc_error_bound < 0.05
    assert again.auroc_error_bound < 5e-4


def test_the_auprc_bound_is_attained_by_the_worst_and_the_best_order_inside_a_bin() -> None:
    labels = np.array([True] * 3 + [False] * 5)
    inside = (1 + np.arange(8) * 2.0**-20).astype(np.float32)
    found = pixel_metrics(fill([("s", inside, labels, None)]))
    worst = average_precision_score(labels, inside)  # lesion pixels score lowest
    best = average_precision_score(labels, -inside)
    assert found.auprc_error_bound == pytest.approx(max(found.auprc - worst, best - found.auprc), abs=1e-12)


def test_scores_that_changed_before_the_second_reading_are_refused() -> None:
    maps = make_maps("continuous", 0)
    with pytest.raises(ScoreError, match="read again must equal"):
        pixel_metrics(fill(maps), rereader(make_maps("continuous", 1)))
    with pytest.raises(ScoreError, match="read again must equal"):
        pixel_metrics(fill(maps), lambda: iter(()))


def test_merging_is_adding_everything() -> None:
    maps = make_maps("signed", 1)
    left, right = fill(maps[:3]), fill(maps[1:])  # two subjects on both sides
    left.merge(right)
    assert_same(left, fill(maps + maps[1:3]))
    assert pixel_metrics(left) == pixel_metrics(fill(maps + maps[1:3]))


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(8)))
def test_the_order_of_adding_does_not_matter(order: list[int]) -> None:
    maps = make_maps("signed", 1) + make_maps("zeros of both signs", 2)
    assert_same(fill(maps), fill([maps[i] for i in order]))


def assert_same(a: ScoreHistogram, b: ScoreHistogram) -> None:
    assert a.subjects == b.subjects
    for subject in a.subjects:
        for mine, theirs in zip(a.bins(subject), b.bins(subject), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_map_counts_the_same_whole_in_slices_and_in_any_layout() -> None:
    rng = np.random.default_rng(0)
    scores, lesion = rng.normal(size=(6, 9, 8)).astype(np.float32), rng.random((6, 9, 8)) < 0.3
    slices = [("s", s, m, None) for s, m in zip(scores, lesion, strict=True)]
    assert_same(fill([("s", scores, lesion, None)]), fill(slices))
    assert_same(fill([("s", scores, lesion, None)]), fill([("s", scores.T, lesion.T.astype(np.uint8), None)]))


@pytest.mark.parametrize("again", [False, True])
def test_pixels_that_are_not_valid_leave_every_metric(again: bool) -> None:
    maps = make_maps("continuous", 5)
    rng = np.random.default_rng(0)
    masked: list[Maps] = []
    kept: list[Maps] = []
    for subject, scores, lesion, _ in maps:
        valid = rng.random(scores.shape) < 0.6
        kept.append((subject, scores[valid], lesion[valid], None))
        masked.append((subject, np.where(valid, scores, np.float32(np.nan)), lesion, valid))
    found = pixel_metrics(fill(masked), rereader(masked) if again else None)
    assert found == pixel_metrics(fill(kept), rereader(kept) if again else None)
    assert found.pixels == sum(s.size for _, s, _, _ in kept)


def test_zeros_of_both_signs_tie_and_negative_scores_rank_below() -> None:
    scores = np.array([0.0, -0.0, -1e-30, 1e-30], np.float32)
    lesion = np.array([True, False, False, False])
    found = pixel_metrics(fill([("s", scores, lesion, None)]))
    assert found.best_dice == pytest.approx(0.5)  # flags 1e-30 and both zeros
    assert found.auroc == pytest.approx((0.5 + 1) / 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_scores_that_are_not_finite_are_refused_and_count_nothing(bad: float) -> None:
    hist = ScoreHistogram()
    scores = np.array([0.5, bad])
    with pytest.raises(ScoreError, match="must be finite"):
        hist.add("s", scores, np.array([True, False]))
    with pytest.raises(ScoreError, match="1 of 2"):
        check_scores(scores, (2,))
    assert hist.subjects == []


def test_wrong_shapes_are_refused_with_both_shapes_named() -> None:
    with pytest.raises(ScoreError, match=r"\(2, 1, 4, 4\); received \(2, 4, 4\)"):
        check_scores(np.zeros((2, 4, 4)), (2, 1, 4, 4))
    with pytest.raises(ScoreError, match=r"'s' has \(4,\), \(5,\)"):
        ScoreHistogram().add("s", np.zeros(4), np.zeros(5, bool))
    with pytest.raises(ScoreError, match="share a shape"):
        DiceAt(0.5).add("s", np.zeros(4), np.zeros(4, bool), np.zeros((4, 1), bool))


def test_checked_scores_are_float32_with_their_values_untouched() -> None:
    checked = check_scores(np.array([[-3, 7]]), (1, 2))
    assert checked.dtype == np.float32
    assert checked.tolist() == [[-3.0, 7.0]]


@pytest.mark.parametrize("again", [False, True])
def test_metrics_without_a_lesion_pixel_are_none(again: bool) -> None:
    maps: list[Maps] = [(name, np.ones(4, np.float32), np.zeros(4, bool), None) for name in "st"]
    found = pixel_metrics(fill(maps), rereader(maps) if again else None)
    assert (found.best_dice, found.best_threshold, found.auprc, found.auroc) == (None,) * 4
    assert (found.best_dice_error_bound, found.auprc_error_bound, found.auroc_error_bound) == (None,) * 3
    assert (found.prevalence, found.subjects_with_lesion) == (0.0, 0)
    assert set(bootstrap(fill(maps), 10).values()) == {None}


def test_metrics_of_nothing_but_lesion_are_one_and_auroc_is_none() -> None:
    maps: list[Maps] = [(name, np.arange(4, dtype=np.float32), np.ones(4, bool), None) for name in "st"]
    found = pixel_metrics(fill(maps), rereader(maps))
    assert (found.best_dice, found.auprc, found.auroc, found.prevalence) == (1.0, 1.0, None, 1.0)
    assert bootstrap(fill(maps), 10) == {"best_dice": (1.0, 1.0), "auprc": (1.0, 1.0), "auroc": None}


def test_metrics_of_no_pixels_are_none() -> None:
    empty: list[Maps] = [("s", np.zeros(3, np.float32), np.zeros(3, bool), np.zeros(3, bool))]
    for hist in (ScoreHistogram(), fill(empty)):
        found = pixel_metrics(hist)
        assert (found.best_dice, found.auroc, found.prevalence, found.pixels) == (None, None, None, 0)
        assert set(bootstrap(hist, 10).values()) == {None}


def test_subject_dice_leaves_out_subjects_without_lesions() -> None:
    maps = make_maps("few values", 7)
    maps.append(("healthy", np.full(9, 5, np.float32), np.zeros(9, bool), None))
    found = pixel_metrics(fill(maps), rereader(maps))
    at_best = DiceAt(found.best_threshold)
    for one in maps:
        at_best.add(*one)
    expected = [dice(s, m, found.best_threshold) for _, s, m, _ in maps[:-1]]
    assert at_best.subject_mean == pytest.approx(np.mean(expected), abs=1e-12)
    assert (found.subjects, found.subjects_with_lesion) == (5, 4)


def test_dice_at_a_threshold_is_exact_pooled_and_by_subject() -> None:
    maps = make_maps("signed", 2)
    counted = DiceAt(0.3)
    for one in maps:
        counted.add(*one)
    assert counted.pooled == dice(*pool(maps), 0.3)
    assert counted.by_subject == {name: dice(s, m, 0.3) for name, s, m, _ in maps}
    halves = DiceAt(0.3), DiceAt(0.3)
    for i, one in enumerate(maps):
        halves[i % 2].add(*one)
    halves[0].merge(halves[1])
    assert halves[0].by_subject == counted.by_subject


def test_dice_at_a_threshold_says_what_happens_on_empty_masks() -> None:
    healthy, missed = DiceAt(0.5), DiceAt(0.5)
    for subject in "st":
        healthy.add(subject, np.ones(3, np.float32), np.zeros(3, bool))
        missed.add(subject, np.zeros(3, np.float32), np.ones(3, bool))
    assert (healthy.pooled, healthy.subject_mean, healthy.interval(10)) == (None, None, None)
    assert (missed.pooled, missed.subject_mean, missed.interval(10)) == (0.0, 0.0, (0.0, 0.0))
    assert (DiceAt(0.5).pooled, DiceAt(0.5).interval(10)) == (None, None)


def test_dice_counts_at_different_thresholds_do_not_merge() -> None:
    with pytest.raises(ScoreError, match=r"0\.5 and 0\.25"):
        DiceAt(0.5).merge(DiceAt(0.25))


@several_scores
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), q=st.floats(0, 1))
def test_a_quantile_flags_at_most_its_share_and_no_bin_less_than_needed(kind: str, seed: int, q: float) -> None:
    maps = make_maps(kind, seed)
    scores, _ = pool(maps)
    threshold = np.float32(quantile(fill(maps), q))
    allowed = scores.size - np.ceil(q * scores.size)
    assert (scores >= threshold).sum() <= allowed
    below = scores[scores < threshold]
    if below.size:  # taking the whole bin below as well would flag too many
        width = max(abs(float(below.max())) * 2.0**-7, 1e-38)
        assert (scores >= float(below.max()) - width).sum() > allowed


def test_a_quantile_of_one_value_flags_nothing_unless_all_may_be_flagged() -> None:
    hist = fill([("s", np.full(10, 2, np.float32), np.zeros(10, bool), None)])
    assert quantile(hist, 0.95) == pytest.approx(2, rel=2**-7)
    assert quantile(hist, 0.95) > 2
    assert quantile(hist, 0) == 2


def test_a_quantile_without_pixels_or_outside_its_range_is_refused() -> None:
    with pytest.raises(ScoreError, match=r"received q = 0\.5 and 0"):
        quantile(ScoreHistogram(), 0.5)
    with pytest.raises(ScoreError, match=r"received q = 1\.5"):
        quantile(fill(make_maps("signed", 0)), 1.5)
