"""Times on the pages: which share a table, in which order, and how they are marked."""

from __future__ import annotations

from pathlib import Path

from page_records import GPU, answer, details, rows
from record_factory import (
    make,
    render,
    timed,
)

ON = ("cpu (Some CPU, 2 threads), float32, 100 slices", "cuda (Some GPU), bfloat16, 100 slices")


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
