"""One of several processes has a lease, until it gives it back, has ended, or is not heard of for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from small_part import SPEC, equal, never

from adbench.storage import leases
from adbench.storage.leases import Lease
from adbench.storage.store import ArtifactStore

DURATION_S, LIMIT_S = 3.0, 60
ELSEWHERE = f"""
import sys, time
from pathlib import Path
from adbench.storage import leases
leases.DURATION_S = {DURATION_S}
leases._machine = lambda: "another-machine"
"""
"""A process that passes for one of another machine."""
HOLDING = """
with leases.Lease(Path(sys.argv[1])):
    print(flush=True)
    input()
"""
AHEAD = "now = time.time\ntime.time = lambda: now() + 3600\n"
MAKING = """
import torch
from small_part import SPEC
from adbench.storage.store import ArtifactStore

def make(checkpoint):
    checkpoint.save({"made": torch.tensor(1)}, {})
    print(flush=True)
    input()
    checkpoint.save({"made": torch.tensor(2)}, {})
    return {"made": torch.tensor(1)}

print(ArtifactStore(Path(sys.argv[1])).get(SPEC, make)["made"].item())
"""


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(leases, "DURATION_S", DURATION_S)


@contextmanager
def other(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has come to where it prints a line."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment, **pipes)
    try:
        assert process.stdout.readline() == "\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def seconds_until_taken(path: Path) -> float:
    began = time.monotonic()
    with Lease(path):
        return time.monotonic() - began


def test_a_lease_is_given_back_and_leaves_no_file(tmp_path):
    for _ in range(2):
        assert seconds_until_taken(tmp_path / "lease") < DURATION_S
    assert list(tmp_path.iterdir()) == []


def test_one_at_a_time_has_it(tmp_path):
    inside, most = [], []

    def work() -> None:
        for _ in range(5):
            with Lease(tmp_path / "lease"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert most == [1] * 20


@pytest.mark.parametrize("clock", ["", AHEAD])
def test_an_owner_that_lives_is_waited_for_longer_than_a_lease_lasts_whatever_its_clock(tmp_path, clock):
    path = tmp_path / "lease"
    with other(ELSEWHERE + clock + HOLDING, path) as owner:
        if clock:
            os.utime(path, (time.time() + 3600,) * 2)
        threading.Timer(2 * DURATION_S, print, kwargs={"file": owner.stdin, "flush": True}).start()
        said: list[bool] = []
        lease, began = Lease(path), time.monotonic()
        assert not Lease(path).acquire(patient=False)
        assert lease.acquire(lambda: said.append(True))
        with lease:
            assert time.monotonic() - began >= DURATION_S
        assert said == [True]
        assert owner.wait(LIMIT_S) == 0


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("clock", ["", AHEAD])
def test_a_lease_runs_out_whose_owner_on_another_machine_is_gone_or_held_up(tmp_path, end, clock):
    path = tmp_path / "lease"
    with other(ELSEWHERE + clock + HOLDING, path) as owner:
        owner.send_signal(end)
        if clock:
            os.utime(path, (time.time() + 3600,) * 2)
        assert seconds_until_taken(path) >= DURATION_S
        assert list(tmp_path.iterdir()) == []


def test_the_lease_of_a_process_of_this_machine_that_was_killed_is_free_at_once(tmp_path, monkeypatch):
    with other(ELSEWHERE.replace("leases._machine", "unused") + HOLDING, tmp_path / "lease") as owner:
        owner.kill()
        monkeypatch.setattr(leases, "DURATION_S", 1e9)
        with Lease(tmp_path / "lease"):
            assert owner.returncode is None, "a zombie, as nobody has waited for it yet"


def test_an_owner_that_was_held_up_leaves_the_lease_of_its_successor_alone(tmp_path):
    path = tmp_path / "lease"
    with other(ELSEWHERE + HOLDING, path) as owner:
        owner.send_signal(signal.SIGSTOP)
        with Lease(path):
            owner.send_signal(signal.SIGCONT)
            owner.communicate("\n")
            assert path.is_file()
    assert list(tmp_path.iterdir()) == []


def test_a_lease_that_another_has_just_taken_over_is_left_to_it(tmp_path):
    path = tmp_path / "lease"
    path.write_bytes(b"of a node that is gone")
    with Lease(path) as quicker:
        Lease(path)._end(b"of a node that is gone")
        assert quicker._is_there()


def test_the_first_of_two_that_make_a_part_publishes_it_for_both(tmp_path):
    store = ArtifactStore(tmp_path)
    with other(ELSEWHERE + MAKING, tmp_path) as held_up:
        held_up.send_signal(signal.SIGSTOP)
        first = {"made": torch.tensor(2)}
        assert equal(store.get(SPEC, lambda checkpoint: first), first)
        before = {path: path.read_bytes() for path in store.folder(SPEC).iterdir()}
        held_up.send_signal(signal.SIGCONT)
        said, _ = held_up.communicate("\n")
        assert said == "2\n", "what it has made is not used"
    assert {path: path.read_bytes() for path in store.folder(SPEC).iterdir()} == before
    assert equal(store.get(SPEC, never), first)


def test_a_part_is_made_once_while_its_owner_lives(tmp_path):
    with other(ELSEWHERE + MAKING, tmp_path) as owner:
        threading.Timer(2 * DURATION_S, print, kwargs={"file": owner.stdin, "flush": True}).start()
        assert ArtifactStore(tmp_path).get(SPEC, never)["made"] == 1
