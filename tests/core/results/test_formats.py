"""Numbers as people read them."""

from __future__ import annotations

import pytest

from adbench.results import formats


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (0.5, 0.4, 0.6, "0.500 [0.400, 0.600]"),
        (0.5, None, None, "0.500"),
        (0.0, 0.0, 0.9999, "0.000"),
        (0.0, 0.0, 0.999, "0.000 [0.000, 0.999]"),
        (None, None, None, "-"),
    ],
)
def test_an_interval_of_all_fractions_is_not_shown(value, low, high, shown):
    assert formats.interval(value, low, high) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.0000"), (3.8e-5, "<0.0001"), (1e-4, "0.0001"), (0.853, "0.853"), (208.4, "208")]
)
def test_seconds_have_about_three_digits_and_very_few_are_not_none(value, shown):
    assert formats.seconds(value) == shown
