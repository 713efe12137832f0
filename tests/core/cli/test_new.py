"""`adbench new`: what is written, under which names, and where; tests/plugin installs and runs it."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from adbench.cli import new
from adbench.errors import ConfigError

NOUNS = ("detector", "dataset")
TEMPLATES = {"detector": "detector", "trained_detector": "detector", "dataset": "dataset"}
"""Template -> what it is of."""
OPTIONS = {"trained_detector": ["--trained"]}
NAMES = ("q", "my-method2", "detector", "x" * new.LONGEST, "-".join("x" * (new.LONGEST // 2)) + "x")


@pytest.mark.parametrize(("template", "noun"), TEMPLATES.items())
def test_an_installable_package_is_written_into_a_folder_of_its_own(template, noun, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("new", noun, "my-own", *OPTIONS.get(template, []))
    assert code == 0
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    files = {"pyproject.toml", "README.md", "adbench_my_own/__init__.py", f"adbench_my_own/{noun}.py"}
    assert written == {f"adbench-my-own/{name}" for name in files | {"tests/test_contract.py"}}
    assert written <= set(out.splitlines())
    assert "go on: cd adbench-my-own" in out


@pytest.mark.parametrize(("template", "noun"), TEMPLATES.items())
def test_the_entry_point_names_the_class_that_was_written(template, noun):
    files = new.render(noun, "my-own", "adbench list", template)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert (project["name"], project["dependencies"]) == ("adbench-my-own", ["brain-adbench"])
    module, _, cls = project["entry-points"][f"adbench.{noun}s"]["my-own"].partition(":")
    assert f"\nclass {cls}(" in files[f"{module.replace('.', '/')}.py"]
    assert f"import {cls}\n" in files["tests/test_contract.py"]


def test_a_trained_detector_needs_at_most_six_names_of_adbench():
    module = ast.parse(new.render("detector", "my-own", "", "trained_detector")["adbench_my_own/detector.py"])
    imported = [node for node in ast.walk(module) if isinstance(node, ast.ImportFrom)]
    names = [alias.name for node in imported if node.module.startswith("adbench") for alias in node.names]
    assert 0 < len(names) <= 6, names


@pytest.mark.parametrize(("template", "noun"), TEMPLATES.items())
def test_ruff_has_nothing_to_say_whatever_the_length_of_the_name(template, noun, command, tmp_path):
    for name in NAMES:
        assert command("new", noun, name, "--out", str(tmp_path / name), *OPTIONS.get(template, []))[0] == 0
    for arguments in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *arguments, "--no-cache", str(tmp_path)]
        ran = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize(
    "name", ["", "My-Method", "2fast", "a_b", "a b", "a--b", "-a", "a-", "a.b", "é", "a\n", "x" * (new.LONGEST + 1)]
)
def test_a_name_that_is_none_is_refused_with_the_rule(noun, name):
    with pytest.raises(ConfigError, match="one or more words of lower-case letters and digits") as error:
        new.check_name(noun, name)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize(("noun", "name"), [("detector", "vae"), ("dataset", "phantom")])
def test_a_name_that_is_registered_is_refused_with_its_owner(noun, name):
    with pytest.raises(ConfigError, match=rf"{noun} needs a name of its own, but '{name}' is registered by brain-adb"):
        new.check_name(noun, name)


def test_a_name_that_only_the_other_kind_has_is_free():
    new.check_name("dataset", "vae")


def test_a_package_that_can_be_imported_already_is_not_hidden():
    with pytest.raises(ConfigError, match="package 'adbench_baselines', but one can be imported already"):
        new.check_name("detector", "baselines")


def test_a_folder_with_files_is_left_as_it_is(command, tmp_path):
    (tmp_path / "mine").write_text("mine")
    code, _, err = command("new", "detector", "my-own", "--out", str(tmp_path))
    assert code == 2
    assert "absent or empty" in err
    assert "--out" in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("inside", ["", "below/it"])
def test_a_folder_that_cannot_be_made_is_named(command, tmp_path, inside):
    file = tmp_path / "file"
    file.write_text("")
    code, _, err = command("new", "dataset", "my-own", "--out", str(file / inside))
    assert code == 2
    assert str(file / inside) in err
    assert "Name another folder with --out." in err


def test_an_empty_folder_is_used(command, tmp_path: Path):
    assert command("new", "dataset", "my-own", "--out", str(tmp_path))[0] == 0
    assert (tmp_path / "pyproject.toml").is_file()
