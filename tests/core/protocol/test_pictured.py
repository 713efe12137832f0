"""Which test slices a picture holds, and what it shows of them."""

from __future__ import annotations

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st
from measuring import checkerboard, measured, scorer

from adbench.protocol.pictured import own, shown


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


@given(subjects=st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=40), seed=st.integers(0, 9))
def test_slices_of_the_picture_have_lesions_and_are_spread_over_subjects(subjects, seed):
    anomalous = np.random.default_rng(seed).random(len(subjects)) > 0.5
    places = list(shown(subjects, anomalous))
    assert places == sorted(set(places))
    assert all(anomalous[i] for i in places)
    assert len(places) == min(6, anomalous.sum()) or len({subjects[i] for i in places}) == 6
    ill = {subject for subject, has_lesion in zip(subjects, anomalous, strict=True) if has_lesion}
    assert len({subjects[i] for i in places}) == min(6, len(ill))


@given(
    auprc=st.dictionaries(st.sampled_from("abcdefghij"), st.floats(0, 1), min_size=3, max_size=10),
    seed=st.integers(0, 9),
)
def test_own_slices_are_of_the_best_median_and_worst_subject_where_their_lesion_is_largest(auprc, seed):
    rng = np.random.default_rng(seed)
    subjects = sorted([*auprc, *rng.choice(list(auprc), 20), "without"])
    lesion_px = np.array([rng.integers(1, 100) if name in auprc else 0 for name in subjects])
    best, median, worst = own(subjects, lesion_px, auprc)
    for place in (best, median, worst):
        assert lesion_px[place] == max(lesion_px[[name == subjects[place] for name in subjects]])
    values = sorted(auprc.values())
    assert auprc[subjects[best]] == values[-1]
    assert auprc[subjects[worst]] == values[0]
    assert auprc[subjects[median]] == values[len(values) // 2]


def test_two_subjects_have_no_own_slices():
    assert own(["a", "b"], np.array([3, 4]), {"a": 0.5, "b": 0.2}) == []


def test_the_picture_holds_the_scores_of_its_slices(tmp_path):
    images, lesions = checkerboard()
    made = measured(scorer(tmp_path, "toy-brightness", test=toys.healthy(images, "test", lesions=lesions))).picture
    assert list(made.marks) == ["best", "median", "worst"]
    shown = [i for i in range(len(images)) if lesions[i].any()][: len(made.shared.subjects)]
    ill = shown + [list(toys.healthy(images, "test").subjects).index(name) for name in made.subjects[-3:]]
    np.testing.assert_array_equal(made.inputs, np.rint(images[ill, 0] * 255))
    np.testing.assert_array_equal(made.lesions == 255, lesions[ill, 0])
    back = made.lowest + made.scores / 255 * (made.highest - made.lowest)
    np.testing.assert_allclose(back, images[ill, 0], atol=1 / 255)


def test_without_a_lesion_that_counts_there_is_no_picture(tmp_path):
    images, lesions = checkerboard()
    split = toys.healthy(images, "test", lesions=lesions, ignores=np.ones(images.shape, bool))
    assert measured(scorer(tmp_path, test=split)).picture is None
