"""A plugin of another distribution: built, installed into a folder, listed, checked by the contracts, and run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from installed import install, needs_pip, python

SOURCE = Path(__file__).parent / "stranger"
CONTRACTS = """
from adbench.testing import DatasetContract, DetectorContract
from stranger_adbench import Discs, MeanDistance

class TestDetector(DetectorContract):
    detector_class = MeanDistance

class TestDataset(DatasetContract):
    dataset_class = Discs
"""

pytestmark = needs_pip


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the stranger's distribution installed, from a wheel that was built offline."""
    root = tmp_path_factory.mktemp("stranger")
    folder = install(SOURCE, root)
    assert (root / "stranger_adbench-0.3-py3-none-any.whl").is_file()
    return folder


def test_both_plugins_are_listed_with_their_distribution_and_version(site, tmp_path):
    rows = json.loads(python("-m", "adbench", "list", "--json", path=site, cwd=tmp_path))
    found = {(row["kind"], row["name"]): row for row in rows if row["distribution"] == "stranger-adbench"}
    assert set(found) == {("method", "stranger"), ("dataset", "stranger-data")}
    for row in found.values():
        assert row["version"] == "0.3"
        assert row["problem"] is None
    assert len(rows) > 2


@pytest.mark.slow
def test_both_plugins_keep_the_shipped_contracts(site, tmp_path):
    (tmp_path / "test_contracts.py").write_text(CONTRACTS)
    said = python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path), path=site, cwd=tmp_path)
    assert "27 passed" in said


@pytest.mark.slow
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
    assert json.loads(file.read_text("utf-8")) == record
    assert (out / record["dataset"]["manifest"]).is_file()
    assert "stranger" in (out / "stranger-data.md").read_text("utf-8")
    assert "stranger-data" in (out / "README.md").read_text("utf-8")


def test_the_stranger_s_package_uses_public_names_of_adbench_alone():
    lines = [line for file in SOURCE.rglob("*.py") for line in file.read_text("utf-8").splitlines()]
    imports = [line for line in lines if line.startswith(("import ", "from ")) and "adbench" in line]
    ours = [line for line in imports if "stranger_adbench" not in line]
    assert len(ours) == 6
    assert not [line for line in ours if "_baselines" in line or "_datasets" in line or " _" in line]
