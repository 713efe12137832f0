"""What a critical reader asks of a page, and where it answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from page_records import answer, details, rows
from record_factory import make, measurement, render

from adbench.results.pages.render import Extras

RATES = {
    "rate_met_on_reference": 0.0099,
    "rate_in_subjects_without_lesion": 0.02,
    "rate_in_clean_slices_of_patients": None,
    "rate_outside_lesions": 0.04,
}
POINT = {"key": "1pct", "rate": 0.01, "threshold": 0.5, "missing": None, "reference_pixels_above": 300, **RATES}
FROC = [
    {"rate": 0.01, "threshold": 0.5, "lesion_recall": 0.25, "false_components": 1.5},
    {"rate": 0.1, "threshold": 0.4, "lesion_recall": 0.75, "false_components": 4.0},
]


def page(sizes: list[int] | None = None, **changes: object) -> str:
    record = make(measurement=measurement(reference_images=66, reference_subjects=4, **changes))
    of = {(record.dataset.fingerprint, record.dataset.region): np.array(sizes or [])}
    return render([record], extras=Extras(sizes=of))[Path("toy.md")]


def test_how_many_healthy_subjects_the_thresholds_come_from_stands_above_the_table():
    assert "thresholds of Dice at 1 % from 66 healthy images of 4 subjects." in answer(page())


def test_rates_of_each_kind_of_pixels_stand_apart():
    table = details(page(points=[POINT]), "Rates of pixels really flagged")
    assert rows(table)[0][2:5] == ["0.0099", "0.0200", "0.0400"], "kinds that the set has not are left out"
    titles = ("healthy images of the threshold", "test subjects without lesion", "outside lesions")
    assert all(f"1 %: {title}" in table for title in titles)


def test_the_froc_curve_stands_on_the_page():
    assert rows(details(page(froc=FROC), "FROC curve"))[0][2:4] == ["0.250 / 1.500", "0.750 / 4.000"]


def test_a_point_that_healthy_images_do_not_support_has_no_rates():
    assert "Rates of pixels" not in page(points=[{**POINT, "missing": "needs 20 healthy subjects, there are 4"}])


@pytest.mark.parametrize(("sizes", "said"), [([900, *[10] * 9], True), ([100] * 10, False), ([900, 10], False)])
def test_why_intervals_are_wide_is_said_where_few_subjects_hold_the_lesion_pixels(sizes: list[int], said: bool):
    assert ("Few subjects hold the lesion pixels (the largest 91 %)" in answer(page(sizes))) is said


def test_an_interval_that_took_its_threshold_for_certain_is_not_shown_and_the_page_says_why():
    old, new = page(interval_error_bound={"subject_dice_1pct": 0.0}), page()
    assert "Not shown: intervals of Dice at thresholds, which must hold for other healthy subjects too" in answer(old)
    assert "Not shown: intervals of Dice" not in new
    at = "At thresholds from healthy images"
    assert "0.700 [0.690, 0.710]" in details(new, at)
    assert "0.700 [0.690, 0.710]" not in details(old, at)
    assert "0.600 [0.590, 0.610]" in details(old, at), "that of subject Dice names its bound"


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        (0.0, "by 0.001 at most; ⌈DICE⌉"),
        (0.02, "by 0.001 at most and an end of an interval by 0.02; ⌈DICE⌉"),
        (1.0, "by 0.001 at most; for the ends of some intervals there is no useful bound; ⌈DICE⌉"),
    ],
)
def test_a_bound_that_says_nothing_is_not_given_as_a_number(bound: float, said: str):
    assert said in details(page(interval_error_bound={"auprc": bound}), "All metrics that need no threshold")
