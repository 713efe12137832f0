"""The driver, with an executor that runs nothing: what begins when, what is noted, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from adbench.execution import driver as module
from adbench.execution.driver import Driver
from adbench.execution.executor import Submitted, Task
from adbench.execution.job import Folders, Job
from adbench.execution.ledger import Entry, Ledger
from adbench.execution.planning import PlannedJob
from adbench.execution.suite import Limits
from adbench.protocol.forecast import CellForecast, PartForecast


class Fake:
    """Ends every task after some polls; remembers what began beside what."""

    def __init__(self, workers: int = 2, fails: Mapping[str, str] | None = None, polls: int = 2) -> None:
        self.workers, self.fails, self.polls = workers, fails or {}, polls
        self.running: dict[str, int] = {}
        self.beside: dict[str, set[str]] = {}
        self.stopped: list[tuple[str, bool]] = []
        self.left: set[str] = set()

    def takes(self, task: Task, beside: int = 0) -> bool:
        return len(self.running) + beside < self.workers

    def submit(self, tasks: Sequence[Task]) -> Iterator[Submitted]:
        return map(self.begin, tasks)

    def find(self, task: Task, id: str) -> Submitted | None:
        return self.begin(task) if id in self.left else None

    def begin(self, task: Task) -> Submitted:
        method = task.arguments[task.arguments.index("--method") + 1]
        self.beside[method] = set(self.running)
        self.running[method] = self.polls
        return Submitted(method, "nowhere", id=f"id of {method}")

    def ended(self, submitted: Submitted) -> str | None:
        self.running[submitted.handle] -= 1
        if self.running[submitted.handle] > 0:
            return None
        del self.running[submitted.handle]
        asked = any(submitted.handle == method for method, _ in self.stopped)
        return "interrupted" if asked else self.fails.get(submitted.handle, "")

    def stop(self, submitted: Sequence[Submitted], now: bool) -> None:
        for each in submitted:
            self.stopped.append((each.handle, now))
            self.running[each.handle] = 1


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(module, "POLL_S", 0.0)


def planned(method: str, *parts: str, done: bool = False, reason: str = "") -> PlannedJob:
    job = Job(method, "toy", 0, "smoke")
    made = [PartForecast(key, "part", "train", 1, None, None, None, None, None) for key in parts]
    cell = CellForecast(method, "toy", "0" * 12, 0, Path("r.json"), done, made, {}, None, None, None, None, ["cpu"])
    return PlannedJob(job, job, [] if reason else [cell], reason)


def folders_of(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "out", tmp_path / "cache")


def drive(tmp_path: Path, executor: Fake, jobs: list[PlannedJob], said: list[str] | None = None) -> dict[str, str]:
    folders = folders_of(tmp_path)
    say = (said if said is not None else []).append
    ends = Driver(executor, Ledger(folders.cache), folders, Limits(), "cpu", say).run(jobs)
    return {each.job.method: ends[key] for each in jobs if (key := each.job.key(folders)) in ends}


def state(tmp_path: Path, method: str) -> Entry:
    return Ledger(tmp_path / "cache").entries()[planned(method).job.key(folders_of(tmp_path))]


def test_what_is_done_or_cannot_run_is_left_and_all_else_runs(tmp_path):
    executor = Fake()
    jobs = [planned("a", done=True), planned("b"), planned("c", reason="no data"), planned("d")]
    assert drive(tmp_path, executor, jobs) == {"b": "", "d": ""}
    assert state(tmp_path, "b").status == "done"


def test_as_many_run_at_once_as_the_executor_takes(tmp_path):
    executor = Fake(workers=3)
    drive(tmp_path, executor, [planned(name) for name in "abcdef"])
    assert max(len(beside) for beside in executor.beside.values()) == 2


def test_jobs_that_make_one_part_follow_each_other_and_the_others_fill_the_gap(tmp_path):
    executor = Fake(workers=3)
    drive(
        tmp_path, executor, [planned("a", "vqvae"), planned("b", "vqvae", "unet"), planned("c", "unet"), planned("d")]
    )
    assert "a" not in executor.beside["b"]
    assert executor.beside["d"] == {"a", "c"}
    assert "c" not in executor.beside["b"]


def test_a_part_that_was_made_holds_nobody_up(tmp_path):
    executor = Fake(workers=2)
    drive(tmp_path, executor, [planned("a", "vqvae"), planned("b", "vqvae"), planned("c", "vqvae")])
    assert executor.beside["b"] == set()
    assert executor.beside["c"] == {"b"}


def test_a_failure_is_noted_with_its_reason_and_is_not_run_again_until_it_is_forgotten(tmp_path):
    jobs, said = [planned("a"), planned("b")], []
    assert drive(tmp_path, Fake(fails={"a": "out of memory"}), jobs, said) == {"a": "out of memory", "b": ""}
    assert (state(tmp_path, "a").status, state(tmp_path, "a").reason) == ("failed", "out of memory")
    assert any("out of memory" in text and ".log" in text for text in said)
    assert drive(tmp_path, Fake(), jobs) == {"b": ""}
    Ledger(tmp_path / "cache").forget_failures([jobs[0].job.key(folders_of(tmp_path))])
    assert drive(tmp_path, Fake(), jobs) == {"a": "", "b": ""}
    assert (state(tmp_path, "a").status, state(tmp_path, "a").attempt) == ("done", 2)


def test_a_job_of_another_driver_is_left_to_it(tmp_path):
    other, said = Ledger(tmp_path / "cache"), []
    other.driver = "another"
    other.beat()
    assert other.claim(planned("a").job.key(folders_of(tmp_path)))
    assert drive(tmp_path, Fake(), [planned("a"), planned("b")], said) == {"b": ""}
    assert any("another driver runs it" in text for text in said)


@pytest.mark.parametrize("patience", [60.0, -1.0], ids=["in time", "too late"])
def test_an_interrupt_ends_the_tasks_and_notes_it(tmp_path, monkeypatch, patience):
    class Interrupted(Fake):
        def ended(self, submitted):
            if not self.stopped and submitted.handle == "b":
                raise KeyboardInterrupt
            return super().ended(submitted)

    monkeypatch.setattr(module, "PATIENCE_S", patience)
    executor = Interrupted(polls=100)
    with pytest.raises(KeyboardInterrupt):
        drive(tmp_path, executor, [planned("a"), planned("b"), planned("c")])
    assert set(executor.stopped) == {("a", patience < 0), ("b", patience < 0)}
    assert {state(tmp_path, name).status for name in "ab"} == {"stopped"}
    assert drive(tmp_path, Fake(), [planned("a"), planned("b"), planned("c")]) == {"a": "", "b": "", "c": ""}


def test_a_driver_that_is_asked_to_stop_ends_its_tasks(tmp_path):
    class Asked(Fake):
        def begin(self, task):
            assert Ledger(tmp_path / "cache").ask_to_stop() == 1
            return super().begin(task)

    with pytest.raises(KeyboardInterrupt):
        drive(tmp_path, Asked(polls=100), [planned("a"), planned("b")])
    assert state(tmp_path, "a").status == "stopped"
    assert Ledger(tmp_path / "cache").ask_to_stop() == 0


def test_what_ended_well_after_its_driver_was_gone_is_noted(tmp_path):
    jobs, gone, lives = [planned("a", done=True), planned("b", done=True)], *(Ledger(tmp_path / "cache") for _ in "ab")
    gone.driver = "gone"
    lives.beat()
    for each, ledger in zip(jobs, (gone, lives), strict=True):
        key = each.job.key(folders_of(tmp_path))
        ledger.claim(key)
        ledger.write(Entry(job=key, status="running", attempt=1, driver=ledger.driver))
    gone.close()
    assert drive(tmp_path, Fake(), jobs) == {}
    assert (state(tmp_path, "a").status, state(tmp_path, "b").status) == ("done", "running")


def test_what_a_driver_that_is_gone_has_submitted_is_gone_on_with(tmp_path):
    jobs, gone = [planned(name) for name in "abc"], Ledger(tmp_path / "cache")
    gone.driver = "gone"
    for each, status, id in zip(jobs, ("running", "running", "stopped"), ("1", "2", "3"), strict=True):
        key = each.job.key(folders_of(tmp_path))
        gone.write(Entry(job=key, status=status, attempt=1, driver="gone", id=id))
    executor, said = Fake(workers=3), []
    executor.left = {"1", "3"}
    assert drive(tmp_path, executor, jobs, said) == {"a": "", "b": "", "c": ""}
    assert [text for text in said if "found again" in text] == [f"{jobs[0].job.name}: found again, nowhere"]
    assert state(tmp_path, "a").attempt == 2
