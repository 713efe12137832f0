"""The examples in CONTRIBUTING.md are complete, and pass the contracts that they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that CONTRIBUTING.md shows."""
    folder = tmp_path_factory.mktemp("example")
    for name, text in BLOCKS:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def test_the_example_names_a_file_for_each_entry_point(example: Path) -> None:
    project = tomllib.loads((example / "pyproject.toml").read_text())["project"]
    targets = [target for group in project["entry-points"].values() for target in group.values()]
    assert len(targets) == 2
    for target in targets:
        module, _, name = target.partition(":")
        assert f"class {name}(" in (example / f"{module.replace('.', '/')}.py").read_text()


def test_the_example_passes_its_own_contract_tests(example: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "test_example.py"]
    environment = os.environ | {"PYTHONPATH": str(example)}
    ran = subprocess.run(command, cwd=example, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"\d+ passed", ran.stdout)
    assert "skipped" not in ran.stdout
