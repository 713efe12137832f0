"""The ledger: one driver has a job, the last attempt counts, and a driver that is gone holds nothing."""

from __future__ import annotations

import os
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbench.errors import SuiteError
from adbench.execution import ledger as module
from adbench.execution.ledger import Entry, Ledger


@pytest.fixture
def drivers(tmp_path):
    """Two drivers of one cache."""
    a, b = Ledger(tmp_path), Ledger(tmp_path)
    b.driver += "-b"
    for each in (a, b):
        each.beat()
    return a, b


def entry(of: Ledger, job: str, status: str, attempt: int = 1, **more: str) -> Entry:
    return Entry(job=job, status=status, attempt=attempt, driver=of.driver, **more)


def is_gone(of: Ledger) -> None:
    long_ago = time.time() - 2 * module.SILENT_S
    os.utime(of.root / f"{of.driver}.jsonl", (long_ago, long_ago))


def test_a_job_is_claimed_by_one_driver(drivers):
    a, b = drivers
    assert a.claim("j")
    assert not b.claim("j")
    assert not a.claim("j"), "nor twice by one"
    a.write(entry(a, "j", "done"))
    assert b.claim("j"), "the end of a job gives its claim back"


def test_the_claim_of_a_driver_that_is_gone_is_free_for_one_of_those_that_try(drivers):
    a, b = drivers
    a.claim("j")
    is_gone(a)
    assert b.claim("j")
    a.beat()
    assert not a.claim("j")


def test_a_claim_without_a_name_was_just_made_or_is_left_from_a_crash(drivers):
    a, b = drivers
    a.claim("j")
    path = a.root / "claims" / "j"
    path.write_text("")
    assert not b.claim("j")
    long_ago = time.time() - 2 * module.SILENT_S
    os.utime(path, (long_ago, long_ago))
    assert b.claim("j")


@given(st.permutations(range(1, 6)), st.sampled_from([-3600, 0, 3600]))
def test_the_last_attempt_counts_whatever_order_files_and_clocks_have(tmp_path_factory, order, skew):
    root = tmp_path_factory.mktemp("cache")
    for attempt in order:
        ledger = Ledger(root)
        ledger.driver = f"{attempt * 7919 % 10}-driver-{attempt}"
        ledger.write(entry(ledger, "j", "running", attempt))
        ledger.write(entry(ledger, "j", "done" if attempt == 5 else "failed", attempt))
        then = time.time() + skew
        os.utime(ledger.root / f"{ledger.driver}.jsonl", (then, then))
    assert Ledger(root).entries()["j"].status == "done"


def test_a_line_that_was_cut_off_is_left_out(drivers):
    a, _ = drivers
    a.write(entry(a, "j", "running"))
    with (a.root / f"{a.driver}.jsonl").open("a") as file:
        file.write('{"job": "j", "status": "do')
    assert a.entries()["j"].status == "running"


def test_failures_are_forgotten_on_request_and_nothing_else_is(drivers):
    a, b = drivers
    a.write(entry(a, "bad", "failed", 2, reason="why"))
    a.write(entry(a, "good", "done"))
    assert b.forget_failures(["bad", "good", "unknown"]) == 1
    assert {job: each.status for job, each in b.entries().items()} == {"bad": "stopped", "good": "done"}


@pytest.mark.parametrize("name", ["0", "z"])
def test_a_failure_is_forgotten_whatever_the_names_of_drivers(drivers, name):
    a, b = drivers
    b.driver = name
    a.write(entry(a, "bad", "failed"))
    b.forget_failures(["bad"])
    assert Ledger(a.root.parent).entries()["bad"].status == "stopped"


def test_a_claim_that_another_driver_has_just_taken_over_is_left_to_it(drivers, monkeypatch):
    a, b = drivers
    dead = Ledger(a.root.parent)
    dead.driver += "-dead"
    dead.claim("j")
    lives = b.lives

    def quicker(driver: str) -> bool:
        if driver == dead.driver and not quick:
            quick.append(a.claim("j"))
        return lives(driver)

    quick: list[bool] = []
    monkeypatch.setattr(b, "lives", quicker)
    assert not b.claim("j")
    assert quick == [True]
    assert (a.root / "claims" / "j").read_text(encoding="utf-8") == a.driver
    assert [path.name for path in (a.root / "claims").iterdir()] == ["j"]


def test_a_driver_of_this_machine_without_a_process_is_gone_at_once(drivers):
    a, b = drivers
    host = socket.gethostname()
    for driver, lives in ((f"{host}-{os.getpid()}-ab", True), (f"{host}-{2**22 + 1}-ab", False), ("far-1-ab", True)):
        a.driver = driver
        a.beat()
        assert b.lives(driver) is lives


def test_drivers_that_live_are_asked_to_stop(drivers):
    a, b = drivers
    is_gone(a)
    assert Ledger(a.root.parent).ask_to_stop() == 1
    assert (a.asked_to_stop, b.asked_to_stop) == (False, True)
    b.close()
    assert not b.asked_to_stop
    assert not a.lives(b.driver)


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "suites").write_text("a file")
    with pytest.raises(SuiteError, match="cannot be written"):
        Ledger(tmp_path).claim("j")
