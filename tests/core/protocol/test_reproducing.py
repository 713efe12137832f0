"""A record is made once more from nothing, and every number is compared."""

from __future__ import annotations

import json

import pytest
import toys
from typer.testing import CliRunner

from adbench.cli.app import app
from adbench.config.options import RunOptions
from adbench.errors import RecordError
from adbench.protocol import harness
from adbench.protocol.reproducing import numbers, plan, reproduce
from adbench.results.record import Record, read_record


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


def made(tmp_path, method: str = "toy-trained") -> Record:
    settings = ["scale=3"] if method == "toy-trained" else []
    (record,) = harness.run([method], "toy", toys.options(tmp_path, *settings, seed=3), toys.Diary())
    return record


def again(record: Record, tmp_path, diary=None):
    options = RunOptions(out=tmp_path / "again", cache=tmp_path / "again/cache")
    diary = diary or toys.Diary()
    return reproduce(plan(record, options, diary), diary)


def test_a_record_is_trained_and_scored_from_nothing_and_comes_out_the_same(tmp_path):
    record, diary = made(tmp_path), toys.Diary()
    found = again(record, tmp_path, diary)
    assert found.succeeded
    assert {number.verdict for number in found.numbers} == {"the same"}
    assert {number.metric for number in found.numbers} == set(record.metrics)
    assert found.again.config_hash == record.config_hash
    assert found.again.detector.artifacts == record.detector.artifacts
    assert found.environment == {}
    assert any("toy training" in what for what, _, _ in diary.steps), "nothing is taken from the first run's cache"


def test_an_interrupted_reproduction_goes_on(tmp_path):
    record = made(tmp_path)
    first = again(record, tmp_path)
    diary = toys.Diary()
    assert again(record, tmp_path, diary).numbers == first.numbers
    assert not any("toy training" in what for what, _, _ in diary.steps)


def test_a_number_that_was_changed_by_hand_does_not_come_out_again(tmp_path):
    record = made(tmp_path)
    path = tmp_path / "out" / record.path
    text = json.loads(path.read_text("utf-8"))
    value = text["metrics"]["auprc"]["value"]
    text["metrics"]["auprc"]["value"] = value / 2
    path.write_text(json.dumps(text))
    found = again(read_record(path), tmp_path)
    assert not found.succeeded
    assert [(n.metric, n.was, n.now) for n in found.numbers if n.verdict == "differs"] == [("auprc", value / 2, value)]


def test_numbers_agree_within_the_tolerance(tmp_path):
    record = made(tmp_path, "toy-brightness")
    moved = {key: each.model_copy(update={"value": (each.value or 0) + 0.0005}) for key, each in record.metrics.items()}
    near = record.model_copy(update={"metrics": moved})
    assert {number.verdict for number in numbers(near, record, 0.001) if number.now is not None} == {"agrees"}
    assert "differs" in {number.verdict for number in numbers(near, record, 0.0001)}


def test_a_record_of_other_code_or_a_failed_one_is_refused(tmp_path):
    record = made(tmp_path, "toy-brightness")
    with pytest.raises(RecordError, match="made with others"):
        again(record.model_copy(update={"config_hash": "0" * 12}), tmp_path)
    failed = record.model_copy(update={"status": "failed", "reason": "it broke"})
    with pytest.raises(RecordError, match="has no numbers"):
        again(failed, tmp_path)


def test_an_interval_that_was_changed_by_hand_does_not_come_out_again(tmp_path):
    record = made(tmp_path, "toy-brightness")
    estimate = record.metrics["auprc"]
    moved = {"auprc": estimate.model_copy(update={"high": (estimate.high or 0) + 0.1})}
    (number,) = numbers(record.model_copy(update={"metrics": moved}), record, 0.001)
    assert (number.verdict, number.interval) == ("the same", "differs")


def command(tmp_path, *words: object, code: int = 0) -> str:
    places = ("--out", tmp_path / "out", "-o", tmp_path / "again")
    result = CliRunner().invoke(app, [str(word) for word in ("reproduce", *words, *places)])
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_prints_its_plan_and_a_dry_run_stops_there(tmp_path):
    record = made(tmp_path)
    name = f"toy-trained@{record.dataset.name}"
    planned = command(tmp_path, name, "--dry-run")
    for said in ("to make again: toy-trained on toy, seed 3", "train", "estimated time", "environment: that of"):
        assert said in planned
    assert not list((tmp_path / "again").glob("records/*/*/*.json"))
    assert json.loads(command(tmp_path, name, "--dry-run", "--json"))["plan"]["parts"][0]["status"] == "train"
    done = command(tmp_path, name)
    assert done.startswith(planned)
    assert "0 agrees, 0 differs" in done
    assert list((tmp_path / "again").glob("records/*/*/*.json"))


def test_a_record_may_be_named_by_its_file_its_hash_or_its_cell(tmp_path):
    first = made(tmp_path, "toy-brightness")
    path = tmp_path / "out" / first.path
    outputs = {command(tmp_path, name, "--dry-run") for name in (path, path.stem, first.config_hash[:5])}
    assert len(outputs) == 1
    harness.run(["toy-brightness"], "toy", toys.options(tmp_path, seed=4), toys.Diary())
    refused = command(tmp_path, "toy-brightness@toy", "--dry-run", code=2)
    assert f"names 2 records: name one of {path.stem} (toy-brightness, toy, " in refused
    assert command(tmp_path, f"{first.config_hash}-seed3", "--dry-run") in outputs
    for unknown in ("toy-brightness@nowhere", "zzz", tmp_path / "none.json"):
        assert "record" in command(tmp_path, unknown, "--dry-run", code=2)
