"""A suite by real processes: its records are those of one run after another, whoever is killed meanwhile."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from suite_processes import LIMIT_S, adbench, check, done, entries, serial_records, suite_words, until

from adbench.execution.ledger import Ledger

MINUTES = 60
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * LIMIT_S)]


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> Path:
    return serial_records(tmp_path_factory.mktemp("serial"))


@pytest.fixture
def suite(tmp_path) -> list[object]:
    return suite_words(tmp_path)


def test_a_suite_whose_worker_and_driver_are_killed_ends_with_every_record_right(tmp_path, serial, suite):
    driver = adbench("suite", "run", *suite, "--workers", 2)
    until(lambda: len(entries(tmp_path, "running")) == 2)
    chance = random.Random(0)
    for entry in entries(tmp_path, "running"):
        log = Ledger(tmp_path / "cache").log(entry.job)
        until(lambda log=log: "fitting on" in log.read_text(encoding="utf-8"))
    time.sleep(chance.uniform(0, 5))
    victim = chance.choice(entries(tmp_path, "running"))
    os.kill(int(re.search(r"process (\d+)", victim.place)[1]), signal.SIGKILL)
    until(lambda: [entry.reason for entry in entries(tmp_path, "failed")] == ["killed by SIGKILL"])
    driver.kill()
    driver.communicate()
    done("suite", "retry", *suite, "--failed")
    done("suite", "run", *suite, "--workers", 2)
    check(tmp_path, serial)


@pytest.mark.skipif(os.geteuid() != 0, reason="disks and nodes that are lost are made by root alone")
@pytest.mark.timeout(60 * MINUTES)
def test_twenty_faults_of_all_kinds_leave_every_record_right():
    script = Path(__file__).parents[3] / "benchmarks" / "suite_faults"
    words = ["--on", "local", "--faults", "20", "--minutes", str(MINUTES), "--seed", "1"]
    ran = subprocess.run([sys.executable, script, *words], stdout=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    struck, wrong = re.search(r"^\| local \| all \| (\d+) \| (\d+) \|", ran.stdout, re.MULTILINE).groups()
    assert int(struck) >= 20
    assert int(wrong) == 0
