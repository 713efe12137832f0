"""What commands print is no wider than 100 columns, and has no colours where nobody sees or wants them."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from report_folder import write_folder
from typer.testing import CliRunner

from adbench.cli import console
from adbench.cli.app import app
from adbench.contracts import registry

SUITE = Path(__file__).parents[3] / "leaderboards" / "suites" / "quick.toml"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("results"))


def printed(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.output


def too_wide(text: str) -> list[str]:
    """Lines that are wider than allowed: a single word, such as a path, may be."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    return [line for line in lines if len(line) > console.WIDE and len(line.split()) > 1]


def groups(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, child in getattr(command, "commands", {}).items():
        found += groups(child, (*path, name))
    return found


@pytest.mark.parametrize("path", groups(typer.main.get_command(app)), ids=" ".join)
def test_help_is_narrow(path):
    text = printed(*path, "--help")
    assert "Usage" in text
    assert not too_wide(text)


@pytest.mark.parametrize(
    "name", [e.name for group in (registry.DETECTORS, registry.DATASETS) for e in registry.names(group)]
)
def test_cards_are_narrow(name):
    assert not too_wide(printed("info", name))


def test_results_are_narrow(results, tmp_path):
    shutil.copytree(results, tmp_path / "other")
    files = sorted(results.glob("records/*/*/*-seed?.json"))
    commands = [
        ("list", "--out", results),
        ("show", files[0]),
        ("compare", "good", "fair", "--out", results, "--settings"),
        ("compare", results, tmp_path / "other"),
        ("verify", results),
        ("data", "check", "phantom", "--preset", "smoke", "--set", "data.n_train=4"),
        ("run", "--method", "ddim", "intensity", "--dataset", "phantom", "--preset", "smoke", "--dry-run"),
        ("suite", "plan", SUITE),
    ]
    for command in commands:
        text = printed(*command)
        assert text.strip(), command
        assert not too_wide(text), command


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("columns", "wide"), [("300", 100), ("60", 60)])
def test_lines_are_as_wide_as_the_terminal_and_at_most_100_columns(monkeypatch, columns, wide):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    path = "/a/" + "long/" * 40
    console.say("word " * 60 + path)
    *lines, last = terminal.getvalue().splitlines()
    assert max(map(len, lines)) in range(wide - 5, wide + 1)
    assert last == path, "a path can still be copied"
    console.say("run it: " + "word " * 60, command=True)
    assert terminal.getvalue().splitlines()[-2].endswith(" \\")


def test_colours_are_for_terminals_alone_and_not_where_they_are_not_wanted(monkeypatch, results):
    assert "\x1b" not in printed("compare", "good", "fair", "--out", results)
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    console.out().print("text", style="bold red")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", terminal.getvalue())
