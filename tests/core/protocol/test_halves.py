"""Healthy validation subjects in two halves, and images taken evenly over subjects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from adbench.errors import DataError
from adbench.protocol.halves import evenly, halved


@given(subjects=st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=40))
def test_the_halves_share_no_subject_and_hold_half_of_them(subjects):
    images = np.random.default_rng(0).random((len(subjects), 1, 4, 4), np.float32)
    split = replace(toys.healthy(images, "v"), subjects=subjects)
    if len(set(subjects)) == 1:
        with pytest.raises(DataError, match="Add healthy validation images of another subject"):
            halved(split)
        return
    calibration, reference = (set(half.subjects) for half in halved(split))
    assert calibration | reference == set(subjects)
    assert not calibration & reference
    assert len(calibration) - len(reference) in (0, 1)


@given(subjects=st.lists(st.sampled_from("abc"), min_size=1, max_size=30), most=st.integers(1, 40))
def test_images_are_taken_evenly_over_subjects(subjects, most):
    images = np.random.default_rng(0).random((len(subjects), 1, 4, 4), np.float32)
    taken = evenly(replace(toys.healthy(images, "v"), subjects=subjects), most)
    assert len(taken) == min(most, len(subjects)) == len({image.tobytes() for image in taken.images})
    counts = {name: list(taken.subjects).count(name) for name in subjects}
    cut = {name: n for name, n in counts.items() if n < subjects.count(name)}
    assert all(max(counts.values()) - n <= 1 for n in cut.values()), "none is cut while another has two more"
