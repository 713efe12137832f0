"""The times of a record: files of their own beside it, one for each device and precision."""

from __future__ import annotations

import pytest
from record_factory import environment, make, timed

from adbench.errors import RecordError
from adbench.results.record import read_records, write_record
from adbench.results.timing import read_timing, read_timings, write_timing

GPU = environment(device="cuda", device_name="NVIDIA H100 80GB HBM3", precision="bf16 autocast")


def test_a_time_survives_writing_and_reading_and_is_not_taken_for_a_record(tmp_path):
    record, time = make(), timed(make())
    write_record(record, tmp_path)
    path = write_timing(time, tmp_path)
    assert path == tmp_path / "records/toy/ddpm/abcdef012345-seed0.timing-cpu-some-cpu-2-threads-float32.json"
    assert read_timings(tmp_path) == [time]
    assert read_records(tmp_path) == [record]


def test_times_of_several_devices_threads_and_precisions_stand_side_by_side(tmp_path):
    elsewhere = [GPU, environment(threads=1), environment(precision="bf16 autocast"), environment(device_name="Other")]
    times = [timed(make(), on=on) for on in (environment(), *elsewhere)]
    paths = {write_timing(time, tmp_path).name for time in times}
    assert len(paths) == len(read_timings(tmp_path)) == 5
    assert "abcdef012345-seed0.timing-cuda-nvidia-h100-80gb-hbm3-bf16-autocast.json" in paths


def test_a_time_measured_anew_replaces_its_own_file_alone(tmp_path):
    record = write_record(make(), tmp_path)
    before = record.read_bytes()
    write_timing(timed(make(), 5.0, GPU), tmp_path)
    for seconds in (1.0, 2.0):
        write_timing(timed(make(), seconds), tmp_path)
    assert sorted(time.timing.median_s for time in read_timings(tmp_path)) == [2.0, 5.0]
    assert record.read_bytes() == before


def test_times_on_a_gpu_do_not_depend_on_the_threads_of_the_processor(tmp_path):
    assert timed(make(), on=GPU).path == timed(make(), on={**GPU, "threads": 64}).path


def test_a_file_of_times_of_another_schema_version_is_refused(tmp_path):
    path = write_timing(timed(make()), tmp_path)
    path.write_text(path.read_text("utf-8").replace('"schema_version": 2', '"schema_version": 1'))
    with pytest.raises(RecordError, match=r"A file of times must be of schema version 2, but \S+ is of version 1"):
        read_timing(path)


def test_a_file_of_times_under_another_name_is_refused(tmp_path):
    path = write_timing(timed(make()), tmp_path)
    path.rename(path.with_name(path.name.replace("cpu-some", "cpu-another")))
    with pytest.raises(RecordError, match="must have the name of its record and device"):
        read_timings(tmp_path)
