"""The record: immutable JSON with numbers as numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError
from record_factory import estimate, failed, make, metrics

from adbench.cli.console import say_left_out
from adbench.errors import RecordError
from adbench.metrics.estimate import Estimate
from adbench.results.record import of_earlier_protocol, read_record, read_records, write_record

ROOT = Path(__file__).parents[3]


def test_a_record_survives_writing_and_reading(tmp_path):
    record = make(tuning={"trials": 3}, reported={"best_dice": 0.92})
    path = write_record(record, tmp_path)
    assert path == tmp_path / "records/toy/ddpm/abcdef012345-seed0.json"
    assert read_record(path) == record
    assert read_records(tmp_path) == [record]


@pytest.mark.parametrize("protocol", [{"region": "image"}, {"version": 1}, {"version": 3}])
def test_a_record_of_another_version_of_the_protocol_is_left_out_and_named(tmp_path, protocol, capsys):
    path = write_record(make("old", protocol=protocol), tmp_path)
    write_record(make("new"), tmp_path)
    assert [record.detector.name for record in read_records(tmp_path)] == ["new"]
    assert of_earlier_protocol(tmp_path) == [path]
    say_left_out(tmp_path)
    said = capsys.readouterr().err
    assert said.startswith("Left out: 1 record of another version")
    assert f"of the protocol than 2, such as {path}: run those cells again" in said


def test_a_record_of_before_a_metric_was_added_is_read_without_it(tmp_path):
    older = make(metrics={"auprc": estimate(0.8)})
    assert read_record(write_record(older, tmp_path)).metrics == {"auprc": Estimate(value=0.8, low=0.79, high=0.81)}


def test_a_metric_that_is_not_in_the_list_is_refused_with_those_that_are():
    with pytest.raises(ValidationError, match="there is no metric 'auprd'; the metrics are best_dice, "):
        make(metrics={"auprd": estimate(0.8)})


def test_the_records_of_this_repository_are_read():
    assert of_earlier_protocol(ROOT / "leaderboards") == []
    read_records(ROOT / "leaderboards")


def test_undefined_values_are_null_in_the_file(tmp_path):
    path = write_record(make(metrics=metrics(best_dice=None)), tmp_path)
    assert json.loads(path.read_text("utf-8"))["metrics"]["best_dice"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_refused(value):
    with pytest.raises(ValidationError, match="finite"):
        make(metrics={**metrics(), "auprc": estimate(value)})


def test_a_record_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        make().seed = 1


def test_unknown_fields_are_refused():
    with pytest.raises(ValidationError, match="colour"):
        make(colour="blue")


@pytest.mark.parametrize("keep", [0, 1, 100])
def test_a_truncated_record_is_named(tmp_path, keep):
    path = write_record(make(), tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RecordError, match=r"abcdef012345-seed0\.json is not a record of schema version 2"):
        read_records(tmp_path)


@pytest.mark.parametrize("version", [1, 99, "two"])
def test_a_record_of_another_schema_version_is_refused_in_one_sentence(tmp_path, version):
    path = write_record(make(), tmp_path)
    path.write_text(path.read_text("utf-8").replace('"schema_version": 2', f'"schema_version": {json.dumps(version)}'))
    message = rf"must be of schema version 2, but \S+seed0\.json is of version {version}: remove the file, or"
    with pytest.raises(RecordError, match=message):
        read_records(tmp_path)


def test_a_missing_record_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"nowhere\.json"):
        read_record(tmp_path / "nowhere.json")


def test_records_are_read_in_the_order_of_their_paths(tmp_path):
    records = [failed("b"), make("a", seed=1), make("a", seed=0)]
    for record in records:
        write_record(record, tmp_path)
    assert [(r.detector.name, r.seed) for r in read_records(tmp_path)] == [("a", 0), ("a", 1), ("b", 0)]


def test_a_record_that_lies_where_another_belongs_is_named(tmp_path):
    first, second = (write_record(make(method), tmp_path) for method in ("ddpm", "random"))
    second.write_bytes(first.read_bytes())
    with pytest.raises(RecordError, match=rf"at {first.relative_to(tmp_path)}, but {second} does not"):
        read_records(tmp_path)


def test_an_output_folder_that_is_a_file_gives_one_clear_error_and_leaves_nothing(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RecordError, match="name another folder"):
        write_record(make(), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_write_that_is_cut_off_leaves_the_old_record(tmp_path, monkeypatch):
    path = write_record(make(), tmp_path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RecordError, match="No space left on device"):
        write_record(make(created="2025-01-01T00:00:00+00:00"), tmp_path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
