"""The pages: a pure function of the records."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from record_factory import (
    card,
    dataset,
    environment,
    failed,
    make,
    measurement,
    metrics,
    render,
    strata,
    timed,
    trained_on,
)

from adbench.errors import RecordError
from adbench.results.method_card import method_card_path, write_method_card
from adbench.results.pages import check_pages, write_pages
from adbench.results.pages.render import Extras
from adbench.results.record import write_record

GOLDEN = Path(__file__).parent / "golden"
PAPER = {"reported": {"best_dice": 0.92, "auprc": 0.955}, "reported_source": "A paper, table 1"}
GPU = environment(device="cuda", device_name="Some GPU", precision="bfloat16")
ON = ("cpu (Some CPU, 2 threads), float32, 100 slices", "cuda (Some GPU), bfloat16, 100 slices")

ELSEWHERE = dataset(train_on=trained_on(), fingerprint="e" * 16)
TUNING = {"trials": 20, "tier": "inference", "objectives": {"dice": 0.4}}
TUNED = "tuned: 20 trials, inference tier, dice"

BY_SIZE = measurement(strata=strata())

RECORDS = [
    make("ddpm", metrics=metrics(0.91), **PAPER),
    make("ddpm", seed=1, metrics=metrics(0.89), environment=GPU, **PAPER),
    make("control", metrics=metrics(0.95), parameters=0),
    make("blank", metrics=metrics(None), preset="demo"),
    make("ddpm", config_hash="777777012345", metrics=metrics(0.93), tuning=TUNING),
    make("ddpm", config_hash="999999012345", dataset=dataset(fingerprint="f" * 16, image_size=(128, 128))),
    make("ddpm", config_hash="555555012345", dataset=ELSEWHERE, metrics=metrics(0.7), measurement=BY_SIZE),
    make(
        "control",
        config_hash="555555012345",
        dataset=ELSEWHERE,
        metrics=metrics(0.8),
        measurement=measurement(strata=strata(0.25)),
    ),
    failed("broken", "RuntimeError: a|b\nof <class 'x'>"),
    failed("waiting", "needs CUDA").model_copy(update={"status": "skipped"}),
]
TIMES = [
    timed(RECORDS[0], 160.0, repeats=3),
    timed(RECORDS[1], 1.5, GPU),
    timed(RECORDS[2], 0.02, stages_s={}, passes={}, flops=0),
    timed(RECORDS[3], 3.0, batch_size=50),
    timed(RECORDS[5], 90.0, whole_s={"score": 91.0}),
    timed(RECORDS[6], 0.5, others={"score": 0.01, "latency": 0.5}),
    timed(RECORDS[7]),
]


def answer(page: str) -> str:
    """What stands outside of all details."""
    return re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)


def details(page: str, title: str) -> str:
    """What is inside the details whose title begins so."""
    return page.split(f"<summary>{title}")[1].split("</details>")[0]


def section(text: str, title: str) -> str:
    """The text below the heading `title` of a variant, up to the next heading."""
    return text.split(f"### {title}\n")[1].split("\n###")[0]


def variant(page: str, differs: str) -> str:
    return details(page, f"Variant, not to be compared with the rows above: {differs}")


def rows(text: str) -> list[list[str]]:
    """The body of a Markdown table as cells."""
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table_of(text)]
    return lines[2:]


def table_of(text: str) -> list[str]:
    """The lines of the first Markdown table."""
    return re.search(r"(?:^\|.*\|\n?)+", text, re.MULTILINE)[0].splitlines()


def plain(cells: list[str]) -> list[str]:
    return [cell.replace("**", "") for cell in cells]


@pytest.fixture(scope="module")
def page() -> str:
    return render(RECORDS, TIMES)[Path("toy.md")]


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


def test_each_device_has_a_table_of_its_own_with_the_fastest_first(page):
    cpu = rows(details(page, f"Time on {ON[0]}"))
    gpu = rows(details(page, f"Time on {ON[1]}"))
    assert [row[2] for row in cpu] == [
        "0.0200 (0.0180 to 0.0300, 10 repeats)",
        "3.00 (2.70 to 4.50, 10 repeats, in batches of 50)",
        "160 (144 to 240, 3 repeats)",
    ]
    assert [row[2] for row in gpu] == ["1.50 (1.35 to 2.25, 10 repeats)"]


def test_a_method_that_was_timed_on_two_devices_has_a_row_of_quality_and_a_row_in_either_table_of_times():
    text = render([make()], [timed(make(), 2.0), timed(make(), 1.0, GPU)])[Path("toy.md")]
    assert [row[0] for row in rows(answer(text))] == ["`ddpm`"]
    times = {device: rows(details(text, f"Time on {device}"))[0][2].split()[0] for device in ON}
    assert times == {ON[0]: "2.00", ON[1]: "1.00"}


def test_a_time_without_a_record_is_on_no_page():
    assert "Time on" not in render([make()], [timed(make(seed=1))])[Path("toy.md")]


def test_times_of_fewer_slices_are_scaled_to_a_hundred():
    slow = timed(make(), 2.0, slices=10, batch_size=10, stages_s={"decode": 1.0}, flops=10**9)
    page = render([make()], [slow])[Path("toy.md")]
    row = rows(details(page, "Time on cpu (Some CPU, 2 threads), float32, 10 slices"))[0]
    assert row[2].startswith("20.0 (18.0 to 30.0")
    assert row[3] == "35.0", "processor seconds"
    assert row[6] == "decode 10.0"
    assert row[8] == "10.0 G"


def test_times_of_other_numbers_of_slices_have_a_table_of_their_own():
    records = [make("quick"), make("slow")]
    text = render(records, [timed(records[0], 2.0), timed(records[1], 1.0, slices=10)])[Path("toy.md")]
    for slices, method in ((100, "quick"), (10, "slow")):
        table = rows(details(text, f"Time on cpu (Some CPU, 2 threads), float32, {slices} slices"))
        assert [row[0] for row in table] == [f"`{method}`"]


def test_a_time_of_a_busy_machine_is_marked_and_stands_last_and_a_composed_one_says_so():
    records = [make("busy"), make("slow"), make("quick")]
    times = [
        timed(records[0], 0.5, others={"score": 0.01, "latency": 0.5}),
        timed(records[1], 90.0, whole_s={"score": 91.0}),
        timed(records[2], 2.0),
    ]
    table = rows(details(render(records, times)[Path("toy.md")], f"Time on {ON[0]}"))
    assert [row[0] for row in table] == ["`quick`", "`slow`", "`busy`"]
    assert table[1][2] == "90.0 (81.0 to 135, 10 repeats, composed; a whole call 91.0)"
    assert table[2][2] == "0.500 (0.450 to 0.750, 10 repeats, **busy machine: others used 50 %**)"


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


def test_written_pages_are_current(tmp_path):
    write_record(make(), tmp_path)
    pages = [tmp_path / name for name in ("GLOSSARY.md", "README.md", "toy.md")]
    assert check_pages(tmp_path) == pages
    assert write_pages(tmp_path) == pages
    assert check_pages(tmp_path) == []


def test_pages_know_methods_by_their_cards_and_are_stale_where_these_change(tmp_path):
    write_record(make(), tmp_path)
    path = tmp_path / method_card_path("ddpm")
    write_method_card(card("diffusion"), path)
    write_pages(tmp_path)
    assert "| `ddpm` | diffusion |" in (tmp_path / "README.md").read_text("utf-8")
    write_method_card(card("synthetic", "synthetic anomalies"), path)
    assert check_pages(tmp_path) == [tmp_path / name for name in ("GLOSSARY.md", "README.md", "toy.md")]
    path.write_text('{"family": "magic"}')
    with pytest.raises(RecordError, match="not a card of a method"):
        check_pages(tmp_path)


def test_a_page_that_was_changed_is_stale(tmp_path):
    write_record(make(), tmp_path)
    write_pages(tmp_path)
    with (tmp_path / "toy.md").open("a") as file:
        file.write("better\n")
    assert check_pages(tmp_path) == [tmp_path / "toy.md"]


def test_a_page_without_records_is_stale_and_removed_but_hand_written_ones_stay(tmp_path):
    path = write_record(make(), tmp_path)
    write_pages(tmp_path)
    (tmp_path / "ablation.md").write_text("# By hand\n")
    path.unlink()
    assert tmp_path / "toy.md" in check_pages(tmp_path)
    write_pages(tmp_path)
    assert sorted(file.name for file in tmp_path.glob("*.md")) == ["README.md", "ablation.md"]


def test_notes_are_part_of_the_page(tmp_path):
    write_record(make(), tmp_path)
    write_pages(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/toy.md").write_text("Sprites are easy.\n\nThey were drawn.\n")
    assert check_pages(tmp_path) == [tmp_path / "toy.md"]
    write_pages(tmp_path)
    page = (tmp_path / "toy.md").read_text("utf-8")
    assert "Sprites are easy." in answer(page)
    assert "They were drawn." in details(page, "Notes")


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


def test_the_index_ends_with_its_note():
    index = render(RECORDS, TIMES, Extras(notes={"README": "Which other methods there are.\n"}))[Path("README.md")]
    assert "\n\nWhich other methods there are.\n\n[What the numbers and the methods are]" in index


def test_notes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/toy.md").write_bytes(b"\xff\xfe")
    with pytest.raises(RecordError, match=r"toy\.md"):
        write_pages(tmp_path)
