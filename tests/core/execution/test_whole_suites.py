"""A suite by real processes: its records are those of one run after another, whoever is killed meanwhile."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from adbench.execution.ledger import Entry, Ledger
from adbench.results.merging import merge

METHODS = ["vqvae-residual", "patchcore", "ae"]
"""The first two share a part."""
SETTINGS = ["protocol.resamples=20", "protocol.timing_slices=1", "protocol.timing_budget_s=0.01"]
LIMIT_S = 600
TRAINED = re.compile(r"^(VQ-VAE|ae): (\d+)/\2, done in ", re.MULTILINE)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * LIMIT_S)]


def adbench(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "adbench", *map(str, words)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)


def done(*words: object) -> None:
    process = adbench(*words)
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, said


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> Path:
    """The records of one run after another."""
    root = tmp_path_factory.mktemp("serial")
    given = ["--dataset", "phantom", "--preset", "smoke", "--out", root / "out", "--cache", root / "cache"]
    done("run", "--method", *METHODS, *given, "--set", *SETTINGS)
    return root / "out"


@pytest.fixture
def suite(tmp_path) -> list[object]:
    """The words after `adbench suite run`, for a cache and records of its own."""
    file = tmp_path / "suite.toml"
    grid = f"[[grids]]\npreset = 'smoke'\ndatasets = ['phantom']\nmethods = {METHODS}\nsettings = {SETTINGS}\n"
    file.write_text(grid)
    return [file, "--out", tmp_path / "out", "--cache", tmp_path / "cache"]


def check(tmp_path: Path, serial: Path) -> None:
    """The records are those of the serial run but for date, environment and times, and no part was trained twice."""
    found = merge([serial, tmp_path / "out"], tmp_path / "both")
    assert len(found.records) == len(METHODS)
    assert set(found.records.values()) == {serial}
    assert sum("the same result" in text for text in found.kept) == len(METHODS)
    logs = [path.read_text(encoding="utf-8") for path in (tmp_path / "cache" / "suites" / "logs").glob("*.log")]
    assert Counter(what for log in logs for what, _ in TRAINED.findall(log)) == {"VQ-VAE": 1, "ae": 1}


def entries(tmp_path: Path, status: str) -> list[Entry]:
    return [entry for entry in Ledger(tmp_path / "cache").entries().values() if entry.status == status]


def until(true) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_two_workers_give_the_records_of_a_serial_run(tmp_path, serial, suite):
    done("suite", "run", *suite, "--workers", 2)
    check(tmp_path, serial)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_suite_whose_worker_and_driver_are_killed_ends_with_every_record_right(tmp_path, serial, suite, seed):
    driver = adbench("suite", "run", *suite, "--workers", 2)
    until(lambda: len(entries(tmp_path, "running")) == 2)
    chance = random.Random(seed)
    for entry in entries(tmp_path, "running"):
        log = Ledger(tmp_path / "cache").log(entry.job)
        until(lambda log=log: "fitting on" in log.read_text(encoding="utf-8"))
    time.sleep(chance.uniform(0, 5))
    victim = chance.choice(entries(tmp_path, "running"))
    os.kill(int(re.search(r"process (\d+)", victim.place)[1]), signal.SIGKILL)
    until(lambda: [entry.reason for entry in entries(tmp_path, "failed")] == ["killed by SIGKILL"])
    driver.kill()
    driver.communicate()
    done("suite", "retry", *suite)
    done("suite", "run", *suite, "--workers", 2)
    check(tmp_path, serial)
