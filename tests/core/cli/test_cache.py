"""The cache says what it holds, and what goes from it is what was told to go, unless somebody uses it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import toys
from typer.testing import CliRunner

from adbench.cli.app import app
from adbench.protocol import harness
from adbench.storage.spec import canonical_hash


def test_score_maps_are_removed_and_parts_and_records_stay(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)
    options = toys.options(tmp_path, "part.steps=3")
    harness.run(["toy-trained"], "toy", options, toys.Diary())
    artifacts, records = options.cache / "artifacts", sorted((tmp_path / "out").rglob("*"))
    kept = {path.name for path in artifacts.glob("[!.]*/")}
    scores = {name for name in kept if name.startswith("scores-")}
    assert len(kept - scores) == 1
    for arguments, left in ((["--dry-run"], kept), ([], kept - scores)):
        result = CliRunner().invoke(app, ["cache", "prune", "--cache", str(options.cache), *arguments])
        assert result.exit_code == 0, result.output
        assert result.output.startswith(f"score maps: {len(scores)} {'would be ' * bool(arguments)}removed, ")
        assert {path.name for path in artifacts.glob("[!.]*/")} == left
    assert sorted((tmp_path / "out").rglob("*")) == records


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with a part, two score maps and their record; all was last used in 1970."""
    toys.install(tmp_path / "site", monkeypatch)
    options = toys.options(tmp_path, "part.steps=3")
    harness.run(["toy-trained"], "toy", options, toys.Diary())
    for path in (options.cache / "artifacts").glob("*/part.json"):
        os.utime(path, (0, 0))
    return options.cache


def adbench(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["cache", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout


def parts(cache: Path) -> list[str]:
    return [path.parent.name for path in (cache / "artifacts").glob("toy-*/part.json")]


def test_what_is_kept_is_listed_with_method_and_data_size_and_use(cache, tmp_path):
    rows = json.loads(adbench("list", "--cache", cache, "--out", tmp_path / "out", "--json"))
    assert {(row["kind"], row["for"]) for row in rows} == {
        ("part", "toy-trained on toy"),
        ("score maps", "toy-trained on toy"),
    }
    assert all(row["bytes"] > 0 and row["last_used"].startswith("1970-01-01") for row in rows)
    shown = adbench("list", "--cache", cache, "--out", tmp_path / "out")
    assert shown.count("score maps") == 1, "they are shown together"
    assert "MiB in" in shown


def test_a_part_that_does_not_say_what_it_was_made_for_is_known_by_its_records(cache, tmp_path):
    (key,) = parts(cache)
    index = cache / "artifacts" / key / "part.json"
    content = json.loads(index.read_text("utf-8"))
    del content["meta"]["made_for"]
    content["meta_sha256"] = canonical_hash(content["meta"])
    index.write_text(json.dumps(content))
    for out, known in ((tmp_path / "out", "toy-trained on toy"), (tmp_path / "nowhere", "")):
        rows = json.loads(adbench("list", "--cache", cache, "--out", out, "--json"))
        assert [row["for"] for row in rows if row["name"] == key] == [known]


def test_what_was_not_used_for_long_goes_and_parts_of_records_stay_where_that_is_asked(cache, tmp_path):
    out = ("--cache", cache, "--out", tmp_path / "out", "--older-than")
    assert "part: 1 would be removed" in adbench("prune", *out, "30d", "--dry-run")
    assert "score maps: 0 removed" in adbench("prune", *out, "90000w")
    assert "part:" not in adbench("prune", *out, "30d", "--keep-records", "--dry-run")
    nowhere = ["cache", "prune", "--cache", str(cache), "--out", str(tmp_path / "nowhere"), "--keep-records"]
    result = CliRunner().invoke(app, [*nowhere, "--older-than", "1h"])
    assert (result.exit_code, "has no record with parts" in result.stderr) == (2, True)
    assert parts(cache)
    assert "part: 1 removed" in adbench("prune", *out, "30d")
    assert not parts(cache)


@pytest.mark.parametrize("text", ["30", "d", "-1d", "1.5d", "30 days"])
def test_an_age_that_is_none_is_refused(tmp_path, text):
    result = CliRunner().invoke(app, ["cache", "prune", "--cache", str(tmp_path), f"--older-than={text}"])
    assert result.exit_code == 2
    assert "a whole number of h, d or w, such as 30d" in result.stderr


def test_damage_is_found_and_said(cache):
    assert adbench("verify", "--cache", cache) == "4 checked, 0 damaged\n"
    (key,) = parts(cache)
    (file,) = (cache / "artifacts" / key).glob("part-*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    said = adbench("verify", "--cache", cache, code=1)
    assert said.startswith(f"{key}: ")
    assert "4 checked, 1 damaged: a run that needs one makes it again" in said
