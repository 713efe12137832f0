"""Families by datasets on the index page: read off records and the values of their subjects alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from record_factory import card, dataset, estimate, make, metrics, render

from adbench.metrics.catalogue import METRICS
from adbench.results.pages.render import Extras

CARDS = {
    "vae": card("reconstruction"),
    "ae": card("reconstruction"),
    "ddpm": card("diffusion"),
    "fpi": card("synthetic", "synthetic anomalies"),
    "random": card("control"),
}
HEADER = "| set | reconstruction | diffusion | synthetic | control |"


def index(levels: dict[str, float], n: int = 40, cards=CARDS, parameters: int = 0, **changes) -> str:
    """The index page of methods whose values by subject lie around a level, of n subjects of one set."""
    rng = np.random.default_rng(0)
    records, values = [], {}
    for method, level in levels.items():
        of = level + rng.normal(0, 0.02, n)
        numbers = {**metrics(), "subject_auprc": estimate(round(float(of.mean()), 3), 0.05)}
        record = make(method, metrics=numbers, parameters=parameters, **changes)
        records.append(record)
        values[record.path.as_posix()] = {f"s{i}": float(value) for i, value in enumerate(of)}
    return render(records, extras=Extras(values=values), cards=cards)[Path("README.md")]


def cells(text: str) -> list[str]:
    """The row of the set `toy` in the table of families."""
    lines = text.split(HEADER)[1].splitlines()
    (row,) = [line for line in lines if line.startswith("| [toy](toy.md) |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_best_method_of_each_family_stands_for_it_with_its_interval_and_mark():
    row = cells(index({"vae": 0.4, "ae": 0.3, "ddpm": 0.7, "fpi": 0.5, "random": 0.1}))
    assert [cell.split()[0] for cell in row[1:]] == ["`vae`", "**`ddpm`", "`fpi`*", "`random`"]
    low, high = (float(end) for end in row[1].split("[")[1].strip("]").split(", "))
    value = float(row[1].split()[1])
    assert (low, high) == (pytest.approx(value - 0.05), pytest.approx(value + 0.05))


def test_a_family_that_is_ahead_of_all_others_by_more_than_chance_is_named():
    text = index({"vae": 0.4, "ddpm": 0.7, "fpi": 0.5, "random": 0.1})
    assert "The first family is ahead of all others by more than chance on [toy](toy.md) (diffusion)." in text
    assert "may be chance" not in text
    assert "≈ `" not in text


def test_families_that_are_not_separated_from_the_first_are_marked_and_named_and_the_others_are_not():
    text = index({"vae": 0.5, "ae": 0.2, "ddpm": 0.501, "fpi": 0.499, "random": 0.1})
    row = cells(text)
    first = next(cell.split()[0].strip("*`") for cell in row if cell.startswith("**"))
    assert first in ("vae", "ddpm", "fpi")
    assert sum(cell.startswith("≈ ") for cell in row) == 2
    assert row[-1].startswith("`random`"), "worse by more than chance"
    said = text.split("It may be chance which is first on [toy](toy.md) (")[1].split(")")[0]
    assert {said.split(" before ")[0], *said.split(" before ")[1].split(", ")} == {
        "reconstruction",
        "diffusion",
        "synthetic",
    }


def test_with_few_subjects_all_may_be_chance_and_that_is_said():
    text = index({"vae": 0.4, "ddpm": 0.7, "fpi": 0.5, "random": 0.1}, n=5)
    assert sum(cell.startswith("≈ ") for cell in cells(text)) == 3
    assert "Nothing can be said of the order on [toy](toy.md): too few test subjects" in text


def test_methods_of_an_unknown_family_are_left_out_and_named():
    text = index({"vae": 0.4, "ddpm": 0.7, "fpi": 0.5, "random": 0.1, "strange": 0.9})
    assert "Left out, as their family is unknown: `strange`." in text
    assert cells(text)[2].startswith("**`ddpm`")


def test_one_family_alone_needs_no_table():
    assert "of each family" not in index({"vae": 0.4, "ae": 0.3})
    assert "of each family" not in index({"vae": 0.4, "ddpm": 0.3}, cards={})


def test_single_trainings_are_said():
    said = "Methods that were trained once are compared given that training."
    levels = {"vae": 0.4, "ddpm": 0.7, "fpi": 0.5, "random": 0.1}
    assert said in index(levels, parameters=10)
    assert said not in index(levels)


def test_a_set_that_lacks_a_family_has_a_dash():
    numbers = {**metrics(), "subject_auprc": estimate(0.8)}
    sets = {"toy": ("vae", "fpi"), "other": ("vae", "ddpm")}
    records = [
        make(method, dataset=dataset(name=name), metrics=numbers)
        for name, methods in sets.items()
        for method in methods
    ]
    header, _, other, toy = render(records, cards=CARDS)[Path("README.md")].split("| set |")[1].splitlines()[:4]
    assert header == " reconstruction | diffusion | synthetic |"
    assert other.split(" | ")[-1] == "- |"
    assert toy.split(" | ")[2] == "-"


def test_where_less_is_better_the_least_is_first(monkeypatch):
    monkeypatch.setitem(METRICS, "subject_auprc", replace(METRICS["subject_auprc"], higher_is_better=False))
    row = cells(index({"vae": 0.4, "ae": 0.3, "ddpm": 0.7, "fpi": 0.5, "random": 0.1}))
    assert [cell.strip("*≈ ").split()[0] for cell in row[1:]] == ["`ae`", "`ddpm`", "`fpi`*", "`random`"]
    assert row[-1].startswith("**")
