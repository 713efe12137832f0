"""A plugin of another distribution: built, installed into a folder, listed, checked by the contracts, and run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "stranger"
CONTRACTS = """
from adbench.testing import DatasetContract, DetectorContract
from stranger_adbench import Discs, MeanDistance

class TestDetector(DetectorContract):
    detector_class = MeanDistance

class TestDataset(DatasetContract):
    dataset_class = Discs
"""

pytestmark = pytest.mark.skipif(
    not (find_spec("pip") and find_spec("setuptools")), reason="building a plugin needs pip and setuptools"
)


def python(*arguments: str, path: Path | None = None, cwd: Path | None = None) -> str:
    """Run this Python with `path` put first, fail with what it said, and return its standard output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ADBENCH")}
    environment |= {"PYTHONPATH": str(path) if path else "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the stranger's distribution installed, from a wheel that was built offline."""
    root = tmp_path_factory.mktemp("stranger")
    source = shutil.copytree(SOURCE, root / "source")  # building leaves folders beside the source
    offline = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    python("-m", "pip", "wheel", str(source), "--wheel-dir", str(root), "--no-build-isolation", *offline)
    (wheel,) = root.glob("*.whl")
    assert wheel.name == "stranger_adbench-0.3-py3-none-any.whl"
    python("-m", "pip", "install", str(wheel), "--target", str(root / "site"), *offline)
    return root / "site"


def test_both_plugins_are_listed_with_their_distribution_and_version(site, tmp_path):
    rows = json.loads(python("-m", "adbench", "list", "--json", path=site, cwd=tmp_path))
    found = {(row["kind"], row["name"]): row for row in rows if row["distribution"] == "stranger-adbench"}
    assert set(found) == {("method", "stranger"), ("dataset", "stranger-data")}
    for row in found.values():
        assert row["version"] == "0.3"
        assert row["problem"] is None
    assert len(rows) > 2


def test_both_plugins_keep_the_shipped_contracts(site, tmp_path):
    (tmp_path / "test_contracts.py").write_text(CONTRACTS)
    said = python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path), path=site, cwd=tmp_path)
    assert "26 passed" in said


def test_the_stranger_s_method_runs_on_the_stranger_s_dataset(site, tmp_path):
    out = tmp_path / "out"
    command = ["-m", "adbench", "run", "--method", "stranger", "--dataset", "stranger-data"]
    command += ["--preset", "smoke", "--device", "cpu", "--out", str(out), "--cache", str(tmp_path / "cache"), "--json"]
    (record,) = json.loads(python(*command, path=site, cwd=tmp_path))
    assert (record["status"], record["reason"]) == ("ok", None)
    assert record["detector"]["name"] == "stranger"
    assert (record["detector"]["distribution"], record["detector"]["version"]) == ("stranger-adbench", "0.3")
    assert record["detector"]["config"] == {"floor": 0.1}
    assert record["detector"]["parameters"] == 2 * 32 * 32
    assert record["dataset"]["split_sizes"] == {"train": 20, "validation": 12, "test": 8}
    assert record["metrics"]["auprc"]["value"] > 0.9
    (file,) = (out / "records" / "stranger-data" / "stranger").glob("*-seed0.json")
    assert json.loads(file.read_text()) == record
    assert (out / record["dataset"]["manifest"]).is_file()
    assert "stranger" in (out / "stranger-data.md").read_text("utf-8")
    assert "stranger-data" in (out / "README.md").read_text("utf-8")


def test_the_stranger_s_package_uses_public_names_of_adbench_alone():
    lines = [line for file in SOURCE.rglob("*.py") for line in file.read_text("utf-8").splitlines()]
    imports = [line for line in lines if line.startswith(("import ", "from ")) and "adbench" in line]
    ours = [line for line in imports if "stranger_adbench" not in line]
    assert len(ours) == 5
    assert not [line for line in ours if "_baselines" in line or "_datasets" in line or " _" in line]
