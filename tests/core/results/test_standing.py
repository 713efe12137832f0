"""Seeds pooled into rows, and where methods stand, said above the table and in the column of ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from record_factory import make, metrics, render

from adbench.results.frame import frame
from adbench.results.pages.render import Extras
from adbench.results.standing import pooled, standing


def rows(*records):
    return pooled(frame(records))


def table(shifts: dict[str, float], n: int, seeds: int = 1, parameters: int = 0):
    """Records of methods and their values by subject, which differ by a shift and a little noise."""
    rng = np.random.default_rng(0)
    base = rng.random(n) / 2
    records, found = [], {}
    for method, shift in shifts.items():
        for seed in range(seeds):
            record = make(method, seed=seed, metrics=metrics(0.5 + shift), parameters=parameters)
            records.append(record)
            noisy = base + shift + rng.normal(0, 0.01, n)
            found[record.path.as_posix()] = {f"s{i}": value for i, value in enumerate(noisy)}
    return records, found


def test_seeds_of_one_method_are_one_row_with_mean_and_spread():
    table = rows(make("a", seed=1, metrics=metrics(0.8)), make("a", seed=0, metrics=metrics(0.9)), make("b"))
    assert list(table["seed"]) == ["0, 1", "0"]
    assert table["best_dice"].iloc[0] == pytest.approx(0.85)
    assert table["best_dice_sd"].iloc[0] == pytest.approx(np.std([0.8, 0.9], ddof=1))
    assert len(table["records"].iloc[0]) == 2
    assert np.isnan(table["best_dice_sd"].iloc[1])


def test_other_settings_are_another_row():
    assert len(rows(make("a"), make("a", config_hash="999999012345"))) == 2


def test_methods_without_training_are_ranked():
    records, values = table({"good": 0.2, "same": 0.2, "bad": 0.0}, 30)
    ranked, said = standing(rows(*records), values)
    assert dict(zip(ranked["method"], ranked["rank"], strict=True)) == {"good": 1, "same": 1, "bad": 3}
    assert "Rank: 1 + the number of methods that are better by more than chance." in said
    assert "over 30 subjects" in said
    assert "over 3 pairs" in said


def test_single_trainings_have_no_rank_but_what_can_be_said_is_said():
    records, values = table({"good": 0.2, "bad": 0.0}, 30, parameters=10)
    ranked, said = standing(rows(*records), values)
    assert set(ranked["rank"]) == {0}
    assert "`good` is better than all others, by 0.2" in said
    assert "or more of subject AUPRC, given these trainings." in said
    records, values = table({"one": 0.2, "two": 0.2}, 30, parameters=10)
    assert "not separated from" in standing(rows(*records), values)[1]
    assert said.endswith("No ranks: each method that trains has one training.")


def test_methods_of_one_training_beside_others_of_several_are_named():
    records, values = table({"thrice": 0.2}, 30, seeds=3, parameters=10)
    more, of_more = table({"once": 0.1}, 30, parameters=10)
    said = standing(rows(*records, *more), values | of_more)[1]
    assert said.endswith("No ranks: `once` has one training, for which alone the intervals hold.")


def test_several_trainings_have_ranks():
    records, values = table({"good": 0.2, "bad": 0.0}, 30, seeds=3, parameters=10)
    assert list(standing(rows(*records), values)[0]["rank"]) == [1, 2]


def test_few_subjects_have_no_ranks_and_that_is_said():
    records, values = table({"good": 0.2, "bad": 0.0}, 5)
    ranked, said = standing(rows(*records), values)
    assert set(ranked["rank"]) == {0}
    assert said.startswith("5 test subjects with lesions are too few for ranks")


def test_without_the_values_of_subjects_nothing_is_said():
    records, values = table({"good": 0.2, "bad": 0.0}, 30)
    values.popitem()
    assert standing(rows(*records), values)[1] == ""


def test_subjects_without_lesions_are_left_out():
    records, values = table({"good": 0.2, "bad": 0.0}, 30)
    for each in values.values():
        for i in range(10):
            del each[f"s{i}"]
    assert "over 20 subjects" in standing(rows(*records), values)[1]


def test_the_page_has_ranks_first_and_links_to_the_records_of_all_seeds():
    records, values = table({"good": 0.2, "bad": 0.0}, 30, seeds=2)
    page = render(records, extras=Extras(values=values))[Path("toy.md")]
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert lines[0].startswith("| rank | method |")
    assert lines[2].startswith("| 1 | `good` |")
    assert " ± " in lines[2]
    assert next(line for line in lines if "](records/" in line).count("](records/") == 2
