"""The pages: a pure function of the records."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from page_records import BY_SIZE, RECORDS, TIMES, TUNING, answer, details, rows, table_of
from record_factory import (
    card,
    dataset,
    failed,
    make,
    measurement,
    metrics,
    render,
    timed,
    trained_on,
)

from adbench.errors import RecordError
from adbench.results.pages import write_pages
from adbench.results.pages.render import Extras
from adbench.results.record import write_record

GOLDEN = Path(__file__).parent / "golden"

TUNED = "tuned: 20 trials, inference tier, dice"


def section(text: str, title: str) -> str:
    """The text below the heading `title` of a variant, up to the next heading."""
    return text.split(f"### {title}\n")[1].split("\n###")[0]


def variant(page: str, differs: str) -> str:
    return details(page, f"Variant, not to be compared with the rows above: {differs}")


def plain(cells: list[str]) -> list[str]:
    return [cell.replace("**", "") for cell in cells]


@pytest.mark.parametrize("name", ["toy.md", "README.md", "GLOSSARY.md"])
def test_the_pages_equal_the_golden_ones(name, rewriting):
    extras = Extras(notes={"toy": "Sprites are easy.\n\nBy hand.\n"})
    page = render(RECORDS, TIMES, extras)[Path(name)]
    if rewriting:
        (GOLDEN / name).write_text(page, "utf-8")
    assert page == (GOLDEN / name).read_text("utf-8"), "`make golden` writes it anew: read the difference in git"


def test_the_order_of_records_and_times_does_not_matter():
    shuffled, times = RECORDS.copy(), TIMES.copy()
    random.Random(0).shuffle(shuffled)
    random.Random(1).shuffle(times)
    assert render(shuffled, times) == render(RECORDS, TIMES)


def test_the_first_table_answers_in_seven_columns_at_most_and_the_best_are_bold(page):
    header, _, *_ = table_of(answer(page))
    assert header == "| method | ⌈DICE⌉ | reported | AUPRC | Dice at 1 % | s / 100 slices |"
    assert rows(answer(page)) == [
        ["`blank` (demo, 1 training)", "-", "-", "**0.800**", "**0.700**", "3.00"],
        ["`control` (small)", "**0.950 [0.940, 0.960]**", "-", "**0.800**", "**0.700**", "**0.0200**"],
        [
            "`ddpm` (small, 2 trainings)",
            "0.900 ± 0.014 [0.685, 0.974]",
            "0.920",
            "**0.800 ± 0.000**",
            "**0.700 ± 0.000**",
            "160",
        ],
    ]


def test_outside_of_details_a_page_has_at_most_ninety_lines():
    many = [make(f"method-{i}", parameters=i % 2) for i in range(30)]
    other = {"protocol": {"version": 2, "region": "brain"}, "config_hash": "c" * 12}
    changed = [make(f"method-{i}", parameters=i % 2, **other) for i in range(30)]
    page = render(many + changed, [timed(each) for each in many], Extras({"toy": "What it is.\n\nMore.\n" * 40}))
    assert len(answer(page[Path("toy.md")]).splitlines()) <= 90


def test_rows_are_sorted_by_the_metric_that_ranks_with_undefined_values_last():
    found = {"a": 0.5, "b": None, "c": 0.9}
    records = [make(name, metrics={**metrics(), "subject_auprc": {"value": value}}) for name, value in found.items()]
    assert [row[0] for row in rows(answer(render(records)[Path("toy.md")]))] == ["`c`", "`a`", "`b`"]
    other = [make(name, metrics={**metrics(), "subject_dice_5pct": {"value": v}}) for name, v in found.items()]
    page = render(other, rank_by="subject_dice_5pct")[Path("toy.md")]
    assert [row[0] for row in rows(answer(page))] == ["`c`", "`a`", "`b`"]


def test_methods_are_ranked_by_a_metric_over_subjects_alone(tmp_path):
    write_record(make(), tmp_path)
    for wrong in ("auprc", "nothing"):
        with pytest.raises(RecordError, match=f"got '{wrong}': choose one of subject_auprc, subject_dice_5pct"):
            write_pages(tmp_path, wrong)


def test_reported_values_stand_beside_ours_only_for_the_method_they_belong_to(page):
    assert "Reported: A paper, table 1." in answer(page)
    assert [row[2] for row in rows(answer(page))] == ["-", "-", "0.920"]
    everything = details(page, "All metrics")
    assert table_of(everything)[0].count("| reported |") == 2
    assert [row[-2] for row in rows(everything)] == ["-", "-", "0.955"]


def test_a_table_without_reported_values_has_no_column_for_them(page):
    assert "reported" not in variant(page, TUNED)


def test_tuned_runs_have_a_table_of_their_own(page):
    text = variant(page, TUNED)
    assert rows(text)[0][1] == "0.930 [0.920, 0.940]"
    assert f"Every row has the same budget ({TUNED})" in text


@pytest.mark.parametrize(
    ("change", "heading"),
    [
        ({"trials": 5}, "tuned: 5 trials, inference tier, dice"),
        ({"tier": "training"}, "tuned: 20 trials, training tier, dice"),
        ({"objectives": {"dice": 0.4, "seconds": 2.0}}, "tuned: 20 trials, inference tier, dice and seconds"),
    ],
)
def test_runs_tuned_with_another_budget_have_tables_of_their_own(change, heading):
    given = {"a": TUNING, "b": {**TUNING, "study": "of another name"}, "c": {**TUNING, **change}}
    text = render([make(name, tuning=tuning) for name, tuning in given.items()])[Path("toy.md")]
    assert TUNED in answer(text)
    assert [row[0] for row in rows(answer(text))] == ["`a`", "`b`"]
    assert [row[0] for row in rows(variant(text, heading))] == ["`c`"]


def test_few_test_subjects_are_said():
    few = dataset(subjects={"train": 9, "validation": 9, "test": 2})
    assert "**Only 2 test subjects**" in answer(render([make(dataset=few)])[Path("toy.md")])
    assert "Only" not in answer(render([make()])[Path("toy.md")])


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"dataset": dataset(config={"n_test": 21})}, "n_test=21"),
        ({"dataset": dataset(region="brain")}, "region brain"),
        ({"dataset": dataset(version="2")}, "version 2 of the dataset's code"),
        ({"dataset": dataset(fingerprint="b" * 16)}, "other images (bbbbbbbbbbbbbbbb)"),
        ({"dataset": dataset(image_size=(32, 64), fingerprint="b" * 16)}, "32 x 64 pixels"),
        ({"protocol": {"version": 2, "region": "image", "postprocess": "median"}}, "postprocess=median"),
        ({"dataset": dataset(train_on=trained_on())}, "trained on healthy"),
    ],
)
def test_other_rules_have_a_variant_of_their_own_that_says_in_what_it_differs(changes, differs):
    text = render([make("a"), make("b"), make("c", **changes)])[Path("toy.md")]
    assert [row[0] for row in rows(answer(text))] == ["`a`", "`b`"]
    assert [row[0] for row in rows(variant(text, f"{differs}</summary>"))] == ["`c`"]


@pytest.mark.parametrize("change", [{"name": "b"}, {"version": "4"}, {"config": {}}, {"fingerprint": "b" * 16}])
def test_other_training_images_have_tables_of_their_own(change):
    both = [make(n, dataset=dataset(train_on=trained_on(**c))) for n, c in (("a", {}), ("b", change))]
    text = render(both)[Path("toy.md")]
    assert len(rows(answer(text))) == 1
    assert len(rows(variant(text, "trained on"))) == 1


def test_what_was_trained_on_is_said_with_its_version_and_settings(page):
    assert "trained on its own healthy images" in answer(page)
    assert "| trained on | its own healthy images |" in details(page, "Data and rules")
    assert "| trained on | `healthy` 3 (toys), settings size=64 |" in variant(page, "trained on healthy")
    assert "| [toy](toy.md), trained on `healthy` (n = 5) |" in render(RECORDS)[Path("README.md")]


def test_the_index_has_every_method_and_set_and_marks_the_best():
    elsewhere = dataset(name="other", subjects={"test": 3})
    records = [make("a"), make("b", metrics=metrics(0.5)), make("b", dataset=elsewhere, metrics=metrics(None))]
    index = render([*records, failed("a", dataset=elsewhere)])[Path("README.md")]
    assert table_of(index)[0] == "| method | family | [other](other.md) (n = 3) | [toy](toy.md) (n = 5) |"
    assert sorted(rows(index)) == [["`a`", "-", "-", "**0.900**"], ["`b`", "-", "-", "0.500"]]
    assert "- [other](other.md): 1 record, 1 failed or skipped" in index


def test_methods_that_know_more_than_healthy_images_are_marked_on_every_page_and_the_mark_is_explained():
    cards = {
        "a": card("synthetic", "synthetic anomalies"),
        "b": card("feature", "outside weights"),
        "c": card("control"),
    }
    pages = render([make(name, parameters=0) for name in "abc"], cards=cards)
    for name in ("toy.md", "README.md"):
        assert {row[0] for row in rows(pages[Path(name)])} == {"`a`*", "`b`†", "`c`"}
        assert pages[Path(name)].count("Methods marked * learn from synthetic anomalies too.") == 1
        assert "Methods marked † use weights that others trained." in pages[Path(name)]
    assert sorted(row[:2] for row in rows(pages[Path("README.md")])) == [
        ["`a`*", "synthetic"],
        ["`b`†", "feature"],
        ["`c`", "control"],
    ]
    assert "marked" not in render([make("c")], cards=cards)[Path("toy.md")]


@pytest.mark.parametrize(("rate", "shown"), [("5 %", ["0.250", "0.500"]), ("1 %", ["0.375", "0.375"])])
def test_lesions_by_size_are_shown_for_each_range_that_has_any(page, rate, shown):
    text = variant(page, "trained on healthy").split(f"At {rate} of healthy pixels. Lesions")[1]
    assert ": below 0.1 %: 5 (50 pixels), 0.1 to 0.5 %: 6 (51 pixels), 0.5 to 2 %: 0 (0 pixels), from" in text
    assert "0.5 to 2 %: lesion recall" not in text
    assert [row[0] for row in rows(text)] == ["`control`", "`ddpm`"], "in the order of quality"
    assert [row[2].split()[0] for row in rows(text)] == shown
    assert all(len(row) == 2 + 3 * 2 + 1 for row in rows(text))


def test_records_without_lesions_by_size_have_no_such_table_and_others_leave_them_out():
    assert "Lesions by size" not in render([make()])[Path("toy.md")]
    mixed = render([make("old"), make("new", measurement=BY_SIZE)])[Path("toy.md")]
    assert [row[0] for row in rows(details(mixed, "Lesions by size"))] == ["`new`"]


def test_false_components_stand_beside_lesions_by_size():
    found = {**metrics(), "false_components_5pct": {"value": 2.5}}
    text = details(render([make(metrics=found, measurement=BY_SIZE)])[Path("toy.md")], "Lesions by size")
    assert text.count("| false components a slice |") == 1, "at the other point there are none"
    assert rows(text)[0][-2] == "2.500"


def test_failed_and_skipped_runs_are_shown_with_their_reason(page):
    text = details(page, "Failed and skipped")
    assert "failed | RuntimeError: a\\|b of &lt;class 'x'> |" in text
    assert "skipped | needs CUDA |" in text


def test_a_dataset_on_which_all_runs_failed_has_a_page():
    pages = render([failed()])
    assert "it broke" in pages[Path("toy.md")]
    assert "[toy](toy.md): 0 records, 1 failed or skipped" in pages[Path("README.md")]


def test_rows_of_one_method_show_the_settings_in_which_they_differ():
    a = make(config={"unet": {"steps": 10, "width": 1}}, config_hash="a" * 12)
    b = make(config={"unet": {"steps": 20, "width": 1}}, config_hash="b" * 12)
    quality = rows(answer(render([a, b])[Path("toy.md")]))
    assert [row[0] for row in quality] == ["`ddpm` (unet.steps=10)", "`ddpm` (unet.steps=20)"]


def test_no_records_give_an_index_alone():
    assert list(render([])) == [Path("README.md")]


def test_a_method_without_a_threshold_has_no_row_at_it_but_the_reason():
    def at(missing: str | None):
        rates = dict.fromkeys(
            ("rate_in_subjects_without_lesion", "rate_in_clean_slices_of_patients", "rate_outside_lesions")
        )
        point = {"key": "01pct", "rate": 0.001, "threshold": 0.5, "missing": missing, "rate_met_on_reference": 0.001}
        return measurement(points=[{**point, "reference_pixels_above": 300, **rates}])

    numbers = {**metrics(), "dice_01pct": {"value": 0.4}}
    none = {**metrics(), "dice_01pct": {"value": None}}
    few = "needs 20 healthy subjects, there are 3"
    both = [make("a", metrics=numbers, measurement=at(None)), make("b", metrics=none, measurement=at(few))]
    block = render(both)[Path("toy.md")].partition("At 0.1 % of healthy pixels")[2].partition("</details>")[0]
    assert [row[0] for row in rows(block)] == ["`a`"]
    assert f"Not estimable for `b` ({few})." in block
    block = render(both[1:])[Path("toy.md")].partition("At 0.1 % of healthy pixels")[2].partition("</details>")[0]
    assert f"Not estimable for all ({few})." in block
