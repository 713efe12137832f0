"""A suite in a folder of its own, run until nothing is left to do, and what must hold then."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from forking import Forked, fork, processes_in
from striking import MEMORY_CGROUPS, STEPS

from adbench.cli import app
from adbench.execution.ledger import Entry, Ledger
from adbench.results.merging import merge
from adbench.results.record import read_records
from adbench.storage.inventory import faults as damaged_parts

METHODS = ["vqvae-residual", "patchcore", "ae"]
"""The first two share a part."""
SETTINGS = [
    f"steps={STEPS}", "batch_size=2", f"vqvae.steps={STEPS}", "vqvae.batch_size=2", "data.n_train=12",
    "data.n_validation=8", "data.n_test=8", "protocol.batch_size=2", "protocol.resamples=5",
    "protocol.timing_slices=1", "protocol.timing_budget_s=0.001",
]  # fmt: skip
TRAINED = re.compile(r"^(VQ-VAE|ae): (\d+)/\2, done in ", re.MULTILINE)
RUNS = 6
"""Of `suite run`, that must finish a suite."""
LEAVES_S = 20.0
"""How long a process may take to leave whose job is known to have ended."""


class WrongError(Exception):
    """What must not be."""


@dataclass
class Trial:
    folder: Path
    chance: random.Random
    on: Sequence[str]
    """Words after `suite run` that say who runs its jobs."""
    duration_s: float = 0.0
    """Of a suite that nothing happens to."""
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def words(self) -> list[object]:
        return [self.folder.parent / "suite.toml", "--out", self.folder / "out", "--cache", self.folder / "cache"]

    def begin(self, prepare: Callable[[], object] = lambda: None) -> Forked:
        """A driver."""
        log = self.folder / "drivers" / f"{next(self.numbers)}.log"
        return fork(["suite", "run", *self.words, "--workers", 2, *self.on], log, prepare=prepare)

    def wait_a_while(self, one: Forked) -> bool:
        """Wait for a moment of a driver; whether it lives then."""
        end = time.monotonic() + self.chance.uniform(0, self.duration_s)
        while one.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        return one.poll() is None

    def marker(self) -> Path:
        """A file that is there once something has happened."""
        return self.folder / f"struck-{next(self.numbers)}"

    def retry(self) -> None:
        """Let what failed be run again."""
        fork(["suite", "retry", *self.words, "--failed"], self.folder / "retry.log").wait()

    def finish(self) -> int:
        """Until nothing is left to do; how many runs it took."""
        for n in range(1, RUNS + 1):
            self.retry()
            if self.begin().wait() == 0:
                return n
        raise WrongError(f"{RUNS} runs did not finish it")

    def processes_left(self) -> list[str]:
        """Those that have not left in time."""
        end = time.monotonic() + LEAVES_S
        while (left := processes_in(self.folder)) and time.monotonic() < end:
            time.sleep(0.1)
        return [f"{each.pid} {each.name()}" for each in left if each.is_running()]

    def entries(self, status: str) -> list[Entry]:
        return [entry for entry in Ledger(self.folder / "cache").entries().values() if entry.status == status]

    @property
    def is_done(self) -> bool:
        out = self.folder / "out"
        records = read_records(out) if (out / "records").is_dir() else []
        return [record.status for record in records] == ["ok"] * len(METHODS)

    def log(self) -> str:
        return "".join(path.read_text("utf-8", "replace") for path in sorted((self.folder / "drivers").glob("*.log")))

    def remove(self) -> None:
        for marker in self.folder.glob("struck-*"):
            group = Path(marker.read_text("utf-8"))
            if group.is_relative_to(MEMORY_CGROUPS):
                group.rmdir()
        if self.folder.is_mount():
            subprocess.run(["umount", self.folder], check=True)
        shutil.rmtree(self.folder)


def check(trial: Trial, serial: Path) -> None:
    """Raises WrongError where anything is not as if nothing had been."""
    found = merge([serial, trial.folder / "out"], trial.folder / "both")
    same = sum("the same result" in text for text in found.kept)
    if (len(found.records), same) != (len(METHODS), len(METHODS)):
        raise WrongError(f"{same} of {len(found.records)} records are those of the serial run: {found.kept}")
    said = "".join(path.read_text("utf-8") for path in (trial.folder / "cache" / "suites" / "logs").glob("*.log"))
    trained = Counter(what for what, _ in TRAINED.findall(said))
    if set(trained.values()) != {1}:
        raise WrongError(f"trained to the end: {dict(trained)}")
    if left := [entry for entry in Ledger(trial.folder / "cache").entries().values() if entry.status != "done"]:
        raise WrongError(f"noted otherwise than done: {left}")
    if damaged := [key for key, why in damaged_parts(trial.folder / "cache") if why]:
        raise WrongError(f"damaged: {damaged}")
    if left := trial.processes_left():
        raise WrongError(f"left: {left}")
    if half := [path for path in (trial.folder / "out").rglob("*.json") if not _is_json(path)]:
        raise WrongError(f"half a file: {half}")
    if "Traceback" in trial.log():
        raise WrongError("a driver shows a traceback")
    _check_nothing_to_do(trial)


def _check_nothing_to_do(trial: Trial) -> None:
    before = {path: path.stat().st_mtime_ns for path in (trial.folder / "out" / "records").rglob("*.json")}
    if trial.begin().wait() or f"{len(METHODS)} done before, 0 run now" not in trial.log():
        raise WrongError("there is something to do once all is done")
    if before != {path: path.stat().st_mtime_ns for path in before}:
        raise WrongError("a record was written twice")


def _is_json(path: Path) -> bool:
    with suppress(ValueError):
        json.loads(path.read_bytes())
        return True
    return False


def write_suite(file: Path, tables: str) -> None:
    """The suite of all trials of an executor; `tables` end the file."""
    grid = f"methods = {METHODS}\nsettings = {SETTINGS}\ndatasets = ['phantom']\n"
    file.write_text(f"[[grids]]\npreset = 'smoke'\nprecision = 'float32'\n{grid}{tables}", encoding="utf-8")


def run_serial(root: Path) -> Path:
    """One cell after another, in this process: it imports what the others need. The folder of its records."""
    words = ["--dataset", "phantom", "--preset", "smoke", "--precision", "float32", "--set", *SETTINGS]
    words += ["--out", str(root / "out"), "--cache", str(root / "cache")]
    sys.argv = ["adbench", "run", "--method", *METHODS, *words]
    with suppress(SystemExit):
        app.main()
    if len(read_records(root / "out")) != len(METHODS):
        raise SystemExit("the serial run failed")
    return root / "out"
