"""Every command that the documentation shows is one: `adbench` accepts it, and what is cheap on `phantom` is run."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from heads import write_patient, write_set
from pages import PAGES, ROOT, Command, blocks, commands

from adbench.cli import console
from adbench.cli.app import app
from adbench.contracts import registry
from adbench.protocol.protocol import MeasurementProtocol

COMMANDS = [command for page in PAGES for command in commands(page)]
OURS = [command for command in COMMANDS if command.words[0] == "adbench"]
CHEAP = {"intensity", "healthy-zscore"}
"""Methods that are run here: they train no network."""
TRAINED = {"ddim"}
"""Methods whose networks `run` trains here, at `smoke`."""
RECORDS = {"results.md": ("leaderboards", "results", "lab-a", "lab-b", "before"), "cluster.md": ("results",)}
"""Pages whose commands read published records, and the folders where these lie then."""
PLACEHOLDER = re.compile(r"[A-Z]+|\.\.\.")
TOOLS = {"pip", "pytest", "ruff", "cd", "cp", "export", "nohup", "."}


@cache
def parsed(command: Command) -> tuple[str, dict[str, Any]]:
    """(`data check`, options) as the command line understands it. Raises a usage error where it does not."""
    found: list[tuple[str, dict[str, Any]]] = []

    def remember(group: Any, path: tuple[str, ...]) -> None:
        for name, child in group.commands.items():
            where = (*path, name)
            if hasattr(child, "commands"):
                remember(child, where)
            else:
                child.callback = lambda where=where, **options: found.append((" ".join(where), options))

    group = typer.main.get_command(app)
    remember(group, ())
    group.main(list(command.words[1:]), prog_name="adbench", standalone_mode=False)
    return found[0]


@pytest.mark.parametrize("command", OURS, ids=str)
def test_the_command_line_accepts_the_command_and_knows_its_names(command: Command) -> None:
    try:
        verb, options = parsed(command)
    except Exception as error:
        if not command.whole and type(error).__name__ == "MissingParameter":
            return  # a sentence may name a command without what it needs
        raise
    names = {"method": registry.DETECTORS, "dataset": registry.DATASETS, "datasets": registry.DATASETS}
    for option, group in {**names, "train_on": registry.DATASETS}.items():
        for name in listed(options.get(option)):
            if not PLACEHOLDER.fullmatch(name) and name not in made_on(command.page):
                registry.find(group, name)
    check_settings(options)
    if verb == "info" and not PLACEHOLDER.fullmatch(options["name"]):
        assert options["name"] in known(registry.DETECTORS) | known(registry.DATASETS) | {"protocol"}


def listed(given: str | list[str] | None) -> list[str]:
    """The values of an option that may be given once or several times, or not at all."""
    return [given] if isinstance(given, str) else list(given or ())


def known(group: str) -> set[str]:
    return {entry.name for entry in registry.names(group)}


def made_on(page: Path) -> set[str]:
    """Names of plugins that commands of the page write."""
    return {command.words[3] for command in commands(page) if command.words[:2] == ("adbench", "new")}


def check_settings(options: dict[str, Any]) -> None:
    """Fail where a setting of a method or a dataset is a field of none of those named."""
    given = [text.partition("=")[0] for text in options.get("settings") or ()]
    fields = {"data.KEY", "KEY", *(f"protocol.{field}" for field in MeasurementProtocol.model_fields)}
    for name in listed(options.get("method")) if given else ():
        fields |= {row[0] for row in console.config_rows(registry.load_detector(name).cls.Config, {})}
    for name in listed(options.get("dataset") or options.get("datasets") or "phantom") if given else ():
        fields |= {row[0] for row in console.config_rows(registry.load_dataset(name).cls.Config, {}, "data.")}
    assert set(given) <= fields


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.words[0] != "adbench"], ids=str)
def test_any_other_command_names_a_target_a_script_or_a_tool_of_the_project(command: Command) -> None:
    head, *rest = command.words
    if head == "make":
        targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert {word for word in rest if "=" not in word} <= set(targets)
        variables = {word.partition("=")[0] for word in rest if "=" in word}
        assert all(f"\n{name} ?= " in (ROOT / "Makefile").read_text("utf-8") for name in variables)
    elif head in ("python", "python3", "bash"):
        assert rest[0] == "-m" or (ROOT / rest[0]).is_file()
    else:
        assert head in TOOLS


@pytest.mark.parametrize(("target", "with_tools"), [("demo", False), ("setup", True), ("test", True), ("lint", True)])
def test_tools_for_development_are_installed_for_targets_that_use_them(target, with_tools, tmp_path) -> None:
    words = ["make", "--dry-run", target, f"VENV={tmp_path / 'venv'}"]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "pip install -c constraints.txt -e .\n" in said
    assert ("[dev]" in said) == with_tools


def is_cheap(command: Command) -> bool:
    """Whether the command needs no data and no long training, and stands where it can be run."""
    if not command.whole:
        return False
    verb, options = parsed(command)
    methods = set(listed(options.get("method")))
    datasets = listed(options.get("dataset") or options.get("datasets") or "phantom")
    on_phantom = options.get("preset") == "smoke" and datasets == ["phantom"]
    has_records = command.page.name in RECORDS or str(options.get("out")) != "leaderboards"
    cheap = {
        "list": True,
        "info": True,
        "table": has_records,
        "leaderboard": has_records,
        "report": command.page.name in RECORDS,
        "compare": command.page.name in RECORDS,
        "merge": command.page.name in RECORDS,
        "time": methods <= CHEAP,
        "predict": True,
        "cache list": True,
        "cache verify": True,
        "cache prune": True,
        "calibrate": True,
        "model show": True,
        "model export": methods <= CHEAP,
        "run": on_phantom and methods <= CHEAP | TRAINED,
        "tune": on_phantom and methods <= CHEAP,
    }
    made = verb.startswith("new ") or bool(options.get("report"))
    return made or cheap.get(verb, on_phantom and verb.startswith("data "))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all pages."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def session(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run commands in, without the variables of whoever tests."""
    for name in [name for name in os.environ if name.startswith("ADBENCH")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ADBENCH_CACHE", str(kept))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_set(tmp_path / "home" / "flair")
    write_patient(tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cheap_ones(page: Path) -> list[Command]:
    return [command for command in OURS if command.page == page and is_cheap(command)]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_cheap_commands_of_a_page_run_one_after_another(page: Path, session: Path, capsys) -> None:
    for name in RECORDS.get(page.name, ()):
        for part in ("records/headct-sprites", "methods"):
            shutil.copytree(ROOT / "leaderboards" / part, session / name / part)
    for command in cheap_ones(page):
        with pytest.raises(SystemExit) as end:
            app(list(command.words[1:]), prog_name="adbench")
        said = capsys.readouterr()
        assert not end.value.code, f"{command} ended with {end.value.code}\n{said.out}\n{said.err}"
        made = command.words[command.words.index("-o") + 1] if "-o" in command.words else ""
        assert Path(made).exists() if made else said.out or "--check" in command.words


def test_enough_is_run_to_trust_the_pages() -> None:
    verbs = {parsed(command)[0] for page in PAGES for command in cheap_ones(page)}
    assert verbs >= {"list", "info", "run", "tune", "leaderboard", "data check", "data prepare", "data preview"}
    assert verbs >= {"model export", "model show", "predict", "calibrate"}
    assert verbs >= {"new detector", "new dataset"}
    assert verbs >= {"report", "compare", "merge", "table", "time", "cache list", "cache verify", "cache prune"}


PYTHON = [(page, text) for page in PAGES for text in blocks(page, "python")]


@pytest.mark.parametrize(("page", "text"), PYTHON, ids=[page.name for page, _ in PYTHON])
def test_python_imports_what_exists_and_runs_where_it_needs_no_data(page: Path, text: str, session: Path) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)
    if "smoke" in text and "adbench.run(" in text:
        exec(compile(text, page.name, "exec"), {})
