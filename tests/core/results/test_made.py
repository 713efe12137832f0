"""What has been made is seen quickly, and told as it is."""

from __future__ import annotations

import json
import shutil

import pytest
import toys
from typer.testing import CliRunner

from adbench.cli.app import app
from adbench.protocol import harness
from adbench.results.made import counted_records, families, trained
from adbench.results.method_card import read_method_cards


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Runs of two methods that share a part, and of one that trains nothing."""
    toys.install(tmp_path / "site", monkeypatch)
    options = toys.options(tmp_path, "part.steps=3", out=tmp_path / "out", cache=tmp_path / "cache")
    harness.run(["toy-trained", "toy-twin", "toy-brightness"], "toy", options, toys.Diary())
    return options


def test_records_are_counted_by_method_and_dataset(ran, tmp_path):
    methods, datasets = counted_records(ran.out)
    assert (methods, datasets) == ({"toy-trained": 1, "toy-twin": 1, "toy-brightness": 1}, {"toy": 3})
    assert counted_records(tmp_path / "nowhere") == ({}, {})


def test_a_method_is_trained_while_the_cache_has_its_parts(ran, tmp_path):
    assert trained(ran.out, ran.cache) == {"toy-trained": ["toy"], "toy-twin": ["toy"]}
    assert trained(tmp_path / "nowhere", ran.cache) == {"toy-trained": ["toy"]}, "as the part itself says"
    shutil.rmtree(ran.cache / "artifacts")
    assert trained(ran.out, ran.cache) == {}


def test_a_damaged_file_is_no_fault_of_a_list(ran):
    cards = ran.out.glob("methods/*.json")
    for path in [*ran.out.glob("records/*/*/*-seed0.json"), *ran.cache.glob("artifacts/*/part.json"), *cards]:
        path.write_text("[]")
    assert trained(ran.out, ran.cache) == families(ran.out) == {}


def test_the_list_shows_it(ran):
    folders = ["--out", str(ran.out), "--cache", str(ran.cache)]
    rows = json.loads(CliRunner().invoke(app, ["list", *folders, "--json"]).stdout)
    by_name = {row["name"]: (row["records"], row["trained_on"]) for row in rows}
    assert by_name["toy-twin"] == (1, ["toy"])
    assert by_name["toy-nan"] == (0, [])
    assert by_name["toy"] == (3, [])
    shown = CliRunner().invoke(app, ["list", *folders]).stdout
    assert [line.split() for line in shown.splitlines() if line.strip().startswith("toy-twin")] == [
        ["toy-twin", "control", "toys", "1.0", "1", "toy"]
    ]


def test_a_run_leaves_a_card_of_each_method_from_which_the_list_knows_its_family(ran):
    assert families(ran.out) == {"toy-trained": "control", "toy-twin": "control"}
    card = read_method_cards(ran.out)["toy-brightness"]
    assert (card.family, card.knowledge) == (None, "nothing"), "a plugin that does not say"
    shown = CliRunner().invoke(app, ["list", "methods", "--out", str(ran.out)]).stdout
    assert [line.split()[1] for line in shown.splitlines() if line.strip().startswith("toy-brightness")] == ["-"]


def test_a_run_again_writes_the_cards_of_records_that_have_none(ran):
    for path in (ran.out / "methods").iterdir():
        path.unlink()
    harness.run(["toy-twin"], "toy", ran, toys.Diary())
    assert families(ran.out) == {"toy-twin": "control"}


def test_cards_of_all_installed_methods_are_written_when_asked_for_and_not_while_checking(ran):
    out = ran.out
    (out / "methods/toy-twin.json").unlink()
    found = CliRunner().invoke(app, ["leaderboard", "--cards", "--out", str(out)])
    assert found.exit_code == 0
    assert families(out)["toy-twin"] == "control"
    assert {"toy-nan", "fpi"} <= read_method_cards(out).keys(), "also without a record"
    refused = CliRunner().invoke(app, ["leaderboard", "--cards", "--check", "--out", str(out)])
    assert refused.exit_code == 2
    assert "not both" in refused.output
