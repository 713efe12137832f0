"""The figure of quality by time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_factory import environment, make, metrics, timed

from adbench.results.figures import key_of
from adbench.results.frame import frame
from adbench.results.pages import check_pages, write_pages
from adbench.results.record import write_record
from adbench.results.speed import Speed, speed_of
from adbench.results.timing import write_timing

QUALITY = {"quick": 0.5, "good": 0.9, "slow": 0.7}
SECONDS = {"quick": 0.1, "good": 20.0, "slow": 40.0}


def record(method: str, **changes):
    return make(method, metrics={**metrics(), "subject_auprc": {"value": QUALITY[method]}}, **changes)


RECORDS = [record(method) for method in QUALITY]
TIMES = [timed(each, SECONDS[each.detector.name]) for each in RECORDS]


def test_every_method_is_a_point_and_those_that_none_beats_in_both_are_joined():
    speed = speed_of(frame(RECORDS, TIMES))
    assert dict(zip(speed.methods, speed.seconds, strict=True)) == SECONDS
    assert dict(zip(speed.methods, speed.quality, strict=True)) == QUALITY
    assert [speed.methods[i] for i in speed.undominated()] == ["quick", "good"]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8))
def test_a_method_is_joined_unless_another_is_as_fast_and_better_or_as_good_and_faster(points):
    speed = Speed("here", [str(i) for i in range(len(points))], [s for s, _ in points], [q for _, q in points])
    joined = {points[i] for i in speed.undominated()}
    beaten = {p for p in points if any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)}
    assert joined == set(points) - beaten


def test_times_of_a_busy_machine_or_another_device_are_no_points():
    busy = timed(RECORDS[0], 0.1, others={"score": 0.5})
    elsewhere = timed(RECORDS[2], 1.0, environment(device="cuda", device_name="Some GPU"))
    assert speed_of(frame(RECORDS, [busy, TIMES[1], elsewhere])) is None, "one point is no figure"
    assert len(speed_of(frame(RECORDS, [*TIMES, elsewhere])).methods) == 3


def test_seconds_are_those_of_the_device_that_most_of_the_ten_best_methods_were_timed_on():
    ranked = [make(f"m{i}", metrics={**metrics(), "subject_auprc": {"value": 0.9 - i / 50}}) for i in range(20)]
    gpu = environment(device="cuda", device_name="Some GPU")
    times = [timed(each, 1.0, gpu) for each in ranked[:3]] + [timed(each, 2.0) for each in ranked[8:]]
    assert "Some GPU" in speed_of(frame(ranked, times)).conditions
    assert "Some CPU" in speed_of(frame(ranked, times[1:])).conditions, "of as many of the best, that of more records"


def test_the_page_shows_it_and_it_is_stale_when_a_time_changes(tmp_path):
    for each in RECORDS:
        write_record(each, tmp_path)
    for each in TIMES:
        write_timing(each, tmp_path)
    path = tmp_path / "figures/toy-speed.png"
    assert path in write_pages(tmp_path)
    assert "(figures/toy-speed.png)" in (tmp_path / "toy.md").read_text("utf-8")
    assert path.stat().st_size < 100_000
    assert check_pages(tmp_path) == []
    before = key_of(path)
    write_timing(timed(RECORDS[0], 0.2), tmp_path)
    assert path in check_pages(tmp_path)
    write_pages(tmp_path)
    assert key_of(path) != before


@pytest.mark.parametrize(
    "change", [{"quality": [0.6]}, {"conditions": "there"}, {"methods": ["b"]}, {"seconds": [2.0]}]
)
def test_all_that_is_shown_is_in_the_key(change):
    one = Speed("here", ["a"], [1.0], [0.5])
    assert replace(one, **change).key != one.key
