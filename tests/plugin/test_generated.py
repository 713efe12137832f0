"""What `adbench new` writes: installed as a stranger would, it passes its own tests and runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from installed import install, needs_pip, python

pytestmark = [needs_pip, pytest.mark.slow]

METHODS = {"detector": "my-own", "dataset": "intensity"}
DATASETS = {"detector": "phantom", "dataset": "my-own"}


@pytest.mark.parametrize("asked", ["detector", "detector --trained", "dataset"])
def test_a_generated_package_passes_its_tests_as_written_and_runs(asked: str, tmp_path: Path) -> None:
    package = tmp_path / "package"
    noun, *options = asked.split()
    python("-m", "adbench", "new", noun, "my-own", *options, "--out", str(package), cwd=tmp_path)
    site = install(package, tmp_path)
    assert "passed" in python("-m", "pytest", "-q", "-p", "no:cacheprovider", path=site, cwd=package)

    line = f"run --method {METHODS[noun]} --dataset {DATASETS[noun]} --preset smoke --json --out out --cache cache"
    (record,) = json.loads(python("-m", "adbench", *line.split(), path=site, cwd=tmp_path))
    assert (record["status"], record["reason"]) == ("ok", None)
    assert record[noun]["name"] == "my-own"
    assert record[noun]["distribution"] == "adbench-my-own"
    assert record["metrics"]["auprc"]["value"] > 2 * record["dataset"]["prevalence"]
