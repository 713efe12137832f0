"""What is known of each job: who runs it, and how it ended. Kept below the cache, for several drivers at once.

    suites/<driver>.jsonl      what a driver did, a line each; nobody else writes there
    suites/claims/<job>        the driver that runs the job; made by one alone (O_EXCL), so it needs no lock
    suites/logs/<job>.log      what the job said

A driver that lives touches its file. One that has not for `SILENT_S` is gone, and its claims are free: that is told by
the clock of the file system, not by those of two machines. On its own machine a driver without a process is gone too.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from adbench.errors import SuiteError
from adbench.storage.files import writing

SILENT_S = 60.0
WHAT = "The state of a suite"
Status = Literal["running", "failed", "stopped", "done"]
RANK: dict[Status, int] = {"running": 0, "failed": 1, "stopped": 2, "done": 3}
"""Of what is said of one attempt, what counts: `suite retry` lets a failure be stopped, and done is done."""


class Entry(BaseModel):
    """What happened to a job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    status: Status
    attempt: int
    """1 for the first."""
    driver: str
    reason: str = ""
    place: str = ""
    """Where it runs, in words of the executor."""
    id: str = ""
    """By which the executor finds it again for another driver."""

    @property
    def order(self) -> tuple[int, int]:
        """Of two entries of a job the one with the greater counts, whatever files and clocks say."""
        return self.attempt, RANK[self.status]


class Ledger:
    """The ledger of a cache, as one driver or reader sees it."""

    def __init__(self, cache: Path) -> None:
        self.root = cache / "suites"
        self._logs = self.root / "logs"
        self.driver = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns():x}"

    def log(self, job: str) -> Path:
        return self._logs / f"{job}.log"

    def logged(self) -> set[str]:
        """Jobs that have a log."""
        with suppress(FileNotFoundError):
            return {name.removesuffix(".log") for name in os.listdir(self._logs)}
        return set()

    def entries(self) -> dict[str, Entry]:
        """Job -> what happened to it last. A line that was cut off is left out."""
        last: dict[str, Entry] = {}
        for entry in self._all():
            before = last.get(entry.job)
            if before is None or entry.order >= before.order:
                last[entry.job] = entry
        return last

    def _all(self) -> Iterator[Entry]:
        for path in sorted(self.root.glob("*.jsonl")):
            for line in path.read_text("utf-8").splitlines():
                with suppress(ValidationError):
                    yield Entry.model_validate_json(line)

    def claim(self, job: str) -> bool:
        """Take a job that no living driver has. Raises SuiteError where the cache cannot be written."""
        path = self.root / "claims" / job
        with writing(WHAT, path.parent, error=SuiteError):
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                with suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
                    file.write(self.driver)
                    return True
                if not self._free_of_the_dead(path):
                    return False

    def _free_of_the_dead(self, path: Path) -> bool:
        """Remove the claim of a driver that is gone; one of several that try succeeds."""
        with suppress(FileNotFoundError):
            holder = path.read_text("utf-8")
            if holder == self.driver or self.lives(holder) or (not holder and _age(self.root, path) < SILENT_S):
                return False
            taken = path.with_name(f".{path.name}-{self.driver}")
            path.rename(taken)
            if taken.read_text("utf-8") != holder:  # another driver was quicker: this is its claim
                with suppress(FileExistsError):
                    os.link(taken, path)
            taken.unlink()
        return True

    def write(self, entry: Entry) -> None:
        """Note what happened; the end of a job gives its claim back. Raises SuiteError as `claim`."""
        with writing(WHAT, self._journal, error=SuiteError):
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            with self._journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry.model_dump()) + "\n")
        if entry.status != "running":
            (self.root / "claims" / entry.job).unlink(missing_ok=True)

    def forget_failures(self, jobs: Iterable[str]) -> int:
        """Let jobs that failed be run again; how many there are."""
        entries = self.entries()
        failed = [entries[job] for job in jobs if job in entries and entries[job].status == "failed"]
        for entry in failed:
            self.write(entry.model_copy(update={"status": "stopped", "driver": self.driver}))
        self.close()
        return len(failed)

    def beat(self) -> None:
        """Say that this driver lives."""
        self._journal.parent.mkdir(parents=True, exist_ok=True)
        self._journal.touch()

    def ask_to_stop(self) -> int:
        """Ask all drivers that live to stop; how many there are."""
        living = [path.stem for path in self.root.glob("*.jsonl") if self.lives(path.stem)]
        for driver in living:
            (self.root / f"{driver}.stop").touch()
        return len(living)

    @property
    def asked_to_stop(self) -> bool:
        return (self.root / f"{self.driver}.stop").exists()

    def close(self) -> None:
        """This driver has ended."""
        (self.root / f"{self.driver}.stop").unlink(missing_ok=True)
        with suppress(OSError):
            os.utime(self._journal, (0, 0))

    @property
    def _journal(self) -> Path:
        return self.root / f"{self.driver}.jsonl"

    def lives(self, driver: str) -> bool:
        """Whether a driver has touched its file lately."""
        if driver == self.driver:
            return True
        host, _, rest = driver.rpartition("-")[0].rpartition("-")
        if host == socket.gethostname() and rest.isdigit() and not psutil.pid_exists(int(rest)):
            return False
        return _age(self.root, self.root / f"{driver}.jsonl") < SILENT_S


def _age(root: Path, path: Path) -> float:
    """Seconds since a file was touched, by the clock of the file system; infinite where there is none."""
    now = root / f".now-{os.getpid()}"
    try:
        now.touch()
        age = now.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return float("inf")
    finally:
        now.unlink(missing_ok=True)
    return age
