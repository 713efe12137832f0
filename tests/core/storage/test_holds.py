"""What a process uses is not removed by another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adbench.storage import holds, leases

HOLDING = """
import pathlib, sys
from adbench.storage.holds import hold
hold(pathlib.Path(sys.argv[1]))
print(flush=True)
input()
"""


class Other:
    """A process that holds a place until it is let go or killed."""

    def __init__(self, place: Path) -> None:
        command = [sys.executable, "-c", HOLDING, str(place)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def other(tmp_path):
    process = Other(tmp_path / "place")
    yield process
    process.end()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The process passes for one of another machine, as this one has changed its name."""
    process = Other(tmp_path / "place")
    monkeypatch.setattr(leases, "_machine", lambda: "another-machine")
    yield process
    process.end()


def free(place: Path) -> bool:
    with holds.alone(place) as alone:
        return alone


def test_a_place_that_another_process_holds_is_not_free_until_it_ends_however_it_does(tmp_path, other):
    assert not free(tmp_path / "place")
    assert free(tmp_path / "elsewhere")
    other.end()
    assert free(tmp_path / "place")


def test_a_place_that_another_machine_holds_is_free_once_its_hold_has_not_changed_for_long(tmp_path, elsewhere):
    elsewhere.end()
    assert not free(tmp_path / "place"), "which nobody here can know yet"
    (hold,) = (tmp_path / holds.FOLDER).glob("[!.]*")
    ago = hold.stat().st_mtime - 3 * leases.DURATION_S - 1
    os.utime(hold, (ago, ago))
    assert free(tmp_path / "place")
    assert not hold.exists()


def test_what_a_process_that_was_killed_has_left_is_removed_by_the_next_that_holds_something(tmp_path, other):
    other.end()
    holds.hold(tmp_path / "elsewhere")
    (own,) = (tmp_path / holds.FOLDER).iterdir()
    assert b"elsewhere" in own.read_bytes()


def test_a_place_that_is_held_while_others_are_looked_at_is_not_free(tmp_path):
    code = HOLDING.replace("input()", "hold(pathlib.Path(input()))\nprint(flush=True)\ninput()")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "place")], **pipes)
    process.stdout.readline()
    assert free(tmp_path / "later")
    print(tmp_path / "later", file=process.stdin, flush=True)
    process.stdout.readline()
    assert not free(tmp_path / "later")
    process.communicate("\n")


def test_a_process_that_ends_leaves_no_file(tmp_path, other):
    other.process.communicate(b"\n")
    assert list((tmp_path / holds.FOLDER).iterdir()) == []


def test_what_a_fork_uses_is_held_by_the_fork_and_does_not_end_what_this_process_holds(tmp_path):
    holds.hold(tmp_path / "place")
    if (fork := os.fork()) == 0:
        holds.release()
        os._exit(0)
    os.waitpid(fork, 0)
    (hold,) = (tmp_path / holds.FOLDER).iterdir()
    assert hold.read_bytes().endswith(b"\nplace\n")


def test_several_processes_hold_one_place(tmp_path, other):
    again = Other(tmp_path / "place")
    other.end()
    assert not free(tmp_path / "place")
    again.end()
    assert free(tmp_path / "place")


def test_a_place_is_held_before_it_is_there_and_in_a_folder_that_is_not(tmp_path):
    other = Other(tmp_path / "a" / "b")
    assert not free(tmp_path / "a" / "b")
    other.end()


def test_whoever_begins_while_a_place_is_removed_waits(tmp_path):
    with holds.alone(tmp_path / "place") as alone:
        assert alone
        command = [sys.executable, "-c", HOLDING, str(tmp_path / "place")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        (tmp_path / "removed").touch()
    assert process.communicate(b"\n")[0] == b"\n"
    assert process.returncode == 0


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    holds.hold(tmp_path / "file" / "place")
