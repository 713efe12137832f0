"""A slip of the pen is answered with the name that was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbench.errors import suggestion

NAMES = ("ddpm", "ddim", "vqvae-residual", "vae", "ae", "transformer", "transformer-ensemble", "healthy-zscore")


@pytest.mark.parametrize(
    ("given_name", "meant"),
    [
        ("vea", "vae"),
        ("vqva", "vqvae-residual"),
        ("vqvae", "vqvae-residual"),
        ("transfomer", "transformer"),
        ("DDIM", "ddim"),
        ("zscore", "healthy-zscore"),
    ],
)
def test_a_name_that_is_nearly_one_or_nearly_begins_one_is_suggested(given_name, meant):
    assert suggestion(given_name, NAMES) == f"; did you mean {meant!r}?"


@pytest.mark.parametrize(
    ("given_name", "known"), [("xyz", NAMES), ("", NAMES), ("ddpm", ()), ("bhsd-slices", ("headct-sprites", "bhsd"))]
)
def test_what_is_like_none_gets_no_suggestion(given_name, known):
    assert suggestion(given_name, known) == ""


@given(st.sampled_from(NAMES))
def test_a_name_itself_is_the_best_suggestion_for_it(name):
    assert suggestion(name, NAMES) == f"; did you mean {name!r}?"
