"""Parts that travel, by the command line: a lab trains once."""

from __future__ import annotations

import json

import pytest
import toys
from part_files import SPEC, files_of, store_with
from typer.testing import CliRunner
from web_depots import body, lying

from adbench.cli.app import app
from adbench.protocol import harness
from adbench.storage.store import ArtifactStore


def adbench(*arguments: object):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def depot(tmp_path, monkeypatch) -> str:
    """A depot that one run's part was pushed to; that run's cache is gone."""
    toys.install(tmp_path / "site", monkeypatch)
    options = toys.options(tmp_path / "first", "part.steps=3")
    harness.run(["toy-trained"], "toy", options, toys.Diary())
    result = adbench("parts", "push", tmp_path / "depot", "--cache", options.cache)
    assert result.exit_code == 0, result.output
    assert " ".join(result.stdout.split()).startswith("1 part pushed to file://")
    return str(tmp_path / "depot")


def test_a_run_takes_its_parts_from_a_depot_and_trains_nothing(tmp_path, depot):
    options = toys.options(tmp_path / "second", "part.steps=3", parts=depot)
    diary = toys.Diary()
    (record,) = harness.run(["toy-trained"], "toy", options, diary)
    assert record.status == "ok"
    assert not [step for step in diary.steps if step[0] == "toy training"]
    assert "comes from file://" in diary.text
    other = toys.Diary()
    (made,) = harness.run(["toy-trained"], "toy", toys.options(tmp_path / "third", "part.steps=3"), other)
    assert record.metrics == made.metrics
    assert [step for step in other.steps if step[0] == "toy training"]


def test_a_run_trains_what_the_depot_does_not_have_and_says_so(tmp_path, depot):
    diary = toys.Diary()
    harness.run(["toy-trained"], "toy", toys.options(tmp_path / "second", "part.steps=2", parts=depot), diary)
    assert "it is made here" in diary.text
    assert [step for step in diary.steps if step[0] == "toy training"]


def run(tmp_path, *arguments: object):
    folders = ["--out", tmp_path / "out", "--cache", tmp_path / "new"]
    quick = ["protocol.resamples=20", "protocol.timing_slices=2", "protocol.timing_budget_s=0.01", "part.steps=3"]
    line = ["run", "--method", "toy-trained", "--dataset", "toy", "--preset", "smoke", *folders, *arguments]
    return adbench(*line, "--set", *quick)


def test_a_dry_run_says_what_would_come_from_the_depot(tmp_path, depot):
    for arguments, status in ((["--parts", depot], "fetch"), ([], "train")):
        result = run(tmp_path, *arguments, "--dry-run", "--json")
        assert result.exit_code == 0, result.output
        (cell,) = json.loads(result.stdout)
        assert [part["status"] for part in cell["parts"]] == [status]


def test_a_run_with_a_depot_that_is_none_or_lies_ends_with_one_sentence(tmp_path, depot):
    result = run(tmp_path, "--parts", tmp_path / "nowhere")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Parts must lie at file://" in result.stderr
    assert not (tmp_path / "new").exists()
    with lying(tmp_path / "depot", "part-", lambda handler: body(handler, b"x")) as url:
        result = run(tmp_path, "--parts", url)
    assert result.exit_code == 2
    assert "do not match its hash: nothing of it was kept" in result.stderr


def test_pulled_parts_are_those_that_were_pushed_and_a_broken_one_stops_no_other(tmp_path, depot):
    cache = tmp_path / "pulled"
    other = store_with(tmp_path / "depot", SPEC)
    (broken,) = other.root.glob("net-*/part-*")
    broken.write_bytes(b"half")
    result = adbench("parts", "pull", depot, "--cache", cache)
    assert result.exit_code == 1
    assert " ".join(result.stdout.split()).startswith("1 part pulled from file://")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert line.startswith("failed: net-")
    kept = files_of(cache / "artifacts")
    assert kept == {name: data for name, data in files_of(tmp_path / "depot").items() if name.startswith("toy-")}
    again = adbench("parts", "pull", depot, "--cache", cache)
    assert "1 in the cache already" in " ".join(again.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["push", "{depot}"], "There are no trained parts in"),
        (["push", "https://host/parts"], "There are no trained parts in"),
        (["pull", "{nowhere}"], "but nothing does: correct the URL"),
        (["pull", "{empty}"], "There are no parts at file://"),
        (["pull", "ftp://host/parts"], "correct it"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {name: str(tmp_path / name) for name in ("depot", "nowhere", "empty")}
    result = adbench("parts", *(each.format(**places) for each in arguments), "--cache", tmp_path / "cache")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_named_parts_alone_are_moved_and_what_is_no_key_fails(tmp_path, depot):
    (key,) = [path.parent.name for path in (tmp_path / "depot").glob("*/part.json")]
    result = adbench("parts", "pull", depot, key, "nonsense", "--cache", tmp_path / "pulled")
    assert result.exit_code == 1
    assert "failed: nonsense: A part is known by its key" in result.stderr
    assert ArtifactStore.below(tmp_path / "pulled").root.joinpath(key, "part.json").is_file()
