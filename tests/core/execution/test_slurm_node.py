"""Suites on a SLURM of one node: arrays, and whatever ends a job or its driver."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import slurm_node
from suite_processes import LIMIT_S, adbench, check, done, entries, serial_records, suite_words, until

LIMITS = "[limits]\nhours = 0.1\n"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * LIMIT_S)]


@pytest.fixture(scope="module", autouse=True)
def node(tmp_path_factory):
    """SLURM's commands reach a node of this machine."""
    if why := slurm_node.missing():
        if os.environ.get("ADBENCH_SLURM_TESTS"):
            pytest.fail(f"ADBENCH_SLURM_TESTS is set, but {why}")
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("slurm") / "node"
    with pytest.MonkeyPatch.context() as patched, slurm_node.slurm_node(folder) as started:
        for name, value in started.found.items():
            patched.setenv(name, value)
        yield


@pytest.fixture(scope="module", autouse=True)
def late(node, tmp_path_factory):
    """A suite that cannot end within its time; it begins before all tests, as SLURM takes a minute for that."""
    folder = tmp_path_factory.mktemp("late")
    limits = "[limits]\nhours = 0.016\n[slurm]\nsignal_delay_s = 10\n"
    words = [*suite_words(folder, limits, ["ae"], "steps=100000"), "--on", "slurm"]
    driver = adbench("suite", "run", *words)
    yield folder, words, driver
    driver.kill()
    driver.communicate()


def slurm(*words: str) -> list[str]:
    """The words that a command of SLURM says."""
    return subprocess.run(words, check=True, text=True, capture_output=True).stdout.split()


def steps(folder: Path) -> list[int]:
    """How far the training of the one job of a suite said that it was, again and again."""
    logs = (folder / "cache" / "suites" / "logs").glob("*.log")
    said = "".join(path.read_text(encoding="utf-8") for path in logs)
    return [int(step) for step in re.findall(r"^ae: (\d+)/\d+ ", said, re.MULTILINE)]


def saved_step(folder: Path) -> int:
    """Steps in the checkpoint of the one training of a suite; 0 before the first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "cache").rglob("checkpoint.json")]
    return max((int(each["meta"]["step"]) for each in found), default=0)


def comes_further(folder: Path) -> None:
    """Wait until the training has done more steps than ever."""
    before = max(steps(folder), default=0)
    until(lambda: max(steps(folder), default=0) > before)


def test_a_suite_gives_the_records_of_a_serial_run_and_what_is_ready_is_one_array(tmp_path):
    serial = serial_records(tmp_path / "serial")
    done("suite", "run", *suite_words(tmp_path, LIMITS), "--on", "slurm")
    check(tmp_path, serial)
    (journal,) = (tmp_path / "cache" / "suites").glob("*.jsonl")
    ids = {json.loads(line)["id"] for line in journal.read_text(encoding="utf-8").splitlines()}
    assert sorted(id.partition("_")[2] for id in ids if id) == ["", "0", "1"], "one waits for what another makes"


def test_a_job_goes_on_whoever_ends_it_or_its_driver(tmp_path):
    words = [*suite_words(tmp_path, LIMITS, ["ae"], "steps=250"), "--on", "slurm"]
    driver = adbench("suite", "run", *words)
    comes_further(tmp_path)
    (job,) = entries(tmp_path, "running")
    driver.kill()
    driver.communicate()

    driver = adbench("suite", "run", *words)
    until(lambda: entries(tmp_path, "running")[0].attempt == 2)
    assert entries(tmp_path, "running")[0].id == job.id, "it is not submitted again"
    slurm("scancel", job.id)
    driver.communicate(timeout=LIMIT_S)
    assert driver.returncode == 1
    assert "CANCELLED" in entries(tmp_path, "failed")[0].reason

    done("suite", "retry", *words[:-2], "--failed")
    driver = adbench("suite", "run", *words)
    comes_further(tmp_path)
    (job,) = entries(tmp_path, "running")
    slurm("scontrol", "requeue", job.id)
    comes_further(tmp_path)
    done("suite", "cancel", *words[3:5])
    driver.communicate(timeout=LIMIT_S)
    assert driver.returncode == 130
    until(lambda: job.id not in slurm("squeue", "--noheader", "--format=%i"))  # it may still be saving

    done("suite", "run", *words)
    assert len(entries(tmp_path, "done")) == 1
    assert steps(tmp_path) == sorted(steps(tmp_path)), "each time from the last checkpoint"


def test_a_job_whose_time_is_over_saves_and_is_queued_again(late):
    folder, words, driver = late
    until(lambda: saved_step(folder))
    before = saved_step(folder)
    until(lambda: saved_step(folder) > before)
    done("suite", "cancel", *words[3:5])
    _, said = driver.communicate(timeout=LIMIT_S)
    assert driver.returncode == 130, said
    assert said.count("begun") == 1
    (log,) = (folder / "cache" / "suites" / "logs").glob("*.log")
    assert log.read_text(encoding="utf-8").count("interrupted") >= 2
