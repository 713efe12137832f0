"""Kill workers and drivers of a suite, interrupt it, fill its disk, and look whether it ends as if nothing had been.

    python benchmarks/suite_faults.py [--faults 200] [--minutes 25] [--seed 0]

A suite of three tiny trainings on `phantom`, two of which share a part, is run by processes of this machine. They are
forked from this one, which has imported all that they need, and write a checkpoint after every step; nothing else
differs from `adbench suite run`. Each trial has one fault or two, then `suite retry` and `suite run` finish the suite:

- its records are those of a run of one cell after another, but for date, environment and times;
- no part was trained to its end twice;
- every part, checkpoint and score map agrees with its hash, and every record can be read;
- no process is left, no driver ended in a traceback, and one more `suite run` has nothing to do.

Exit code 1 where one of these does not hold; the folder of such a trial is kept.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch starts

import psutil

from adbench.cli import app
from adbench.execution import driver, process
from adbench.execution.ledger import Ledger
from adbench.protocol import scoring
from adbench.results.merging import merge
from adbench.results.record import read_records
from adbench.storage.inventory import faults as damaged_parts
from adbench.training import loop

METHODS = ["vqvae-residual", "patchcore", "ae"]
STEPS = 12
SETTINGS = [
    f"steps={STEPS}", "batch_size=2", f"vqvae.steps={STEPS}", "vqvae.batch_size=2", "data.n_train=12",
    "data.n_validation=8", "data.n_test=8", "protocol.batch_size=2", "protocol.resamples=5",
    "protocol.timing_slices=1", "protocol.timing_budget_s=0.001",
]  # fmt: skip
TRAINED = re.compile(r"^(VQ-VAE|ae): (\d+)/\2, done in ", re.MULTILINE)
HANGS_S = 600.0
"""A process that takes longer hangs."""
DISK_BYTES = 32 * 2**20


class Forked:
    """A process as `psutil.Popen` shows one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if found else None
        return self.returncode

    def wait(self) -> int:
        end = time.monotonic() + HANGS_S
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"process {self.pid} hangs")
            time.sleep(0.02)
        return code


@dataclass
class Kill:
    """The nth call of a function kills the process that makes it, before or after the call, in one process alone."""

    target: Any
    name: str
    nth: int
    after: bool
    of: str
    """`run`: in a worker; `suite`: in a driver."""
    marker: Path
    """Is there once it has happened."""

    def arm(self) -> None:
        original, calls = getattr(self.target, self.name), count(1)

        def killing(*arguments: Any, **named: Any) -> Any:
            strikes = next(calls) == self.nth and self._is_first()
            if strikes and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*arguments, **named)
            if strikes:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(self.target, self.name, killing)

    def _is_first(self) -> bool:
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


PLACES = {
    "worker, training": (loop, "learning_rate_factor", False, "run", STEPS),
    "worker, scoring": (scoring, "map_scores", False, "run", 8),
    "worker, half a file written": (os, "fsync", False, "run", 30),
    "worker, before a file is in place": (os, "replace", False, "run", 30),
    "worker, after a file is in place": (os, "replace", True, "run", 30),
    "driver, before a note": (Ledger, "write", False, "suite", 6),
    "driver, after a note": (Ledger, "write", True, "suite", 6),
    "driver, after a claim": (Ledger, "claim", True, "suite", 3),
}
"""Fault -> the function whose call kills, whether after it, whose process, and of how many calls one is chosen."""

_kill: Kill | None = None
"""What processes that are forked from now on, and theirs, are to suffer."""


def fork(arguments: Sequence[object], log: Path, *_: object, **__: object) -> Forked:
    """Stands for `process.begin`: `adbench ARGUMENTS` in a fork of this process."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        if pid := os.fork():
            return Forked(pid)
        code = 1
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            if _kill is not None and arguments[0] == _kill.of:
                _kill.arm()
            sys.argv = ["adbench", *map(str, arguments)]
            app.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(code)


@dataclass
class Trial:
    """A suite in a folder of its own."""

    folder: Path
    chance: random.Random
    drivers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def words(self) -> list[object]:
        return [self.folder.parent / "suite.toml", "--out", self.folder / "out", "--cache", self.folder / "cache"]

    def begin(self) -> Forked:
        log = self.folder / "drivers" / f"{next(self.drivers)}.log"
        return fork(["suite", "run", *self.words, "--workers", 2], log)

    def finish(self) -> int:
        """Until nothing is left to do; how many runs it took."""
        for n in range(1, 5):
            fork(["suite", "retry", *self.words], self.folder / "retry.log").wait()
            if self.begin().wait() == 0:
                return n
        raise WrongError("four runs did not finish it")

    def workers(self) -> list[psutil.Process]:
        """Those of its drivers that live."""
        found = []
        for path in (self.folder / "cache" / "suites").glob("*.jsonl"):
            for pid in set(re.findall(r'"process (\d+)', path.read_text("utf-8"))):
                with suppress(psutil.NoSuchProcess):
                    found.append(psutil.Process(int(pid)))
        return [each for each in found if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]

    def log(self) -> str:
        return "".join(path.read_text("utf-8", "replace") for path in sorted((self.folder / "drivers").glob("*.log")))


class WrongError(Exception):
    """What must not be."""


def killed_at(name: str) -> Callable[[Trial], bool]:
    """A fault of `PLACES`; whether it struck."""
    target, function, after, of, most = PLACES[name]

    def fault(trial: Trial) -> bool:
        global _kill
        marker = trial.folder / f"struck-{next(trial.drivers)}"
        _kill = Kill(target, function, trial.chance.randint(1, most), after, of, marker)
        try:
            trial.begin().wait()
        finally:
            _kill = None
        return marker.exists()

    return fault


def killed_driver(trial: Trial) -> bool:
    one = trial.begin()
    time.sleep(trial.chance.uniform(0, duration_s))
    ended = one.poll() is not None
    if not ended:
        os.kill(one.pid, signal.SIGKILL)
        one.wait()
    return not ended


def two_drivers(trial: Trial) -> bool:
    both = trial.begin(), trial.begin()
    for each in both:
        each.wait()
    return True


def two_drivers_one_killed(trial: Trial) -> bool:
    left = trial.begin()
    struck = killed_driver(trial)
    left.wait()
    return struck


def interrupted(times: int) -> Callable[[Trial], bool]:
    """Ctrl-C, a second one soon after the first: the driver ends as interrupted and leaves no worker."""

    def fault(trial: Trial) -> bool:
        one = trial.begin()
        time.sleep(trial.chance.uniform(0, duration_s))
        for _ in range(times):
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGINT)
            time.sleep(trial.chance.uniform(0, 0.5))
        code = one.wait()
        time.sleep(0.2)
        if left := trial.workers():
            raise WrongError(f"Ctrl-C left {left}")
        if code not in (0, 1, 130):  # it may have ended before, with 1 where an earlier fault is still a failure
            raise WrongError(f"Ctrl-C ended a driver with {code}")
        return code == 130

    return fault


def full_disk(trial: Trial) -> bool:
    """All but some kilobytes of its disk are taken; then they are given back."""
    disk = trial.folder
    shutil.rmtree(disk)
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", disk], check=True, capture_output=True)
    filler = disk / "filler"
    filler.write_bytes(bytes(DISK_BYTES - trial.chance.randint(4, 4000) * 1024))
    code = trial.begin().wait()
    filler.unlink()
    return code != 0


FAULTS: dict[str, Callable[[Trial], bool]] = {
    **{name: killed_at(name) for name in PLACES},
    "driver, at any time": killed_driver,
    "two drivers at once": two_drivers,
    "two drivers, one killed": two_drivers_one_killed,
    "Ctrl-C": interrupted(1),
    "Ctrl-C twice": interrupted(2),
    "full disk": full_disk,
}
duration_s = 0.0
"""Of a suite that nothing happens to."""


def check(trial: Trial, serial: Path) -> None:
    """Raises WrongError where anything is not as if nothing had been."""
    found = merge([serial, trial.folder / "out"], trial.folder / "both")
    same = sum("the same result" in text for text in found.kept)
    if (len(found.records), same) != (len(METHODS), len(METHODS)):
        raise WrongError(f"{same} of {len(found.records)} records are those of the serial run: {found.kept}")
    said = "".join(path.read_text("utf-8") for path in (trial.folder / "cache" / "suites" / "logs").glob("*.log"))
    trained = Counter(what for what, _ in TRAINED.findall(said))
    if set(trained.values()) - {1}:
        raise WrongError(f"trained to the end: {dict(trained)}")
    if left := [entry for entry in Ledger(trial.folder / "cache").entries().values() if entry.status != "done"]:
        raise WrongError(f"noted otherwise than done: {left}")
    if damaged := [key for key, why in damaged_parts(trial.folder / "cache") if why]:
        raise WrongError(f"damaged: {damaged}")
    if alive := trial.workers():
        raise WrongError(f"left: {alive}")
    if "Traceback" in trial.log():
        raise WrongError("a driver shows a traceback")
    before = {path: path.stat().st_mtime_ns for path in (trial.folder / "out" / "records").rglob("*.json")}
    if trial.begin().wait() or "3 done before, 0 run now" not in trial.log():
        raise WrongError("there is something to do once all is done")
    if before != {path: path.stat().st_mtime_ns for path in before}:
        raise WrongError("a record was written twice")


def run_serial(root: Path) -> Path:
    """One cell after another, in this process: it imports what the others need."""
    words = ["--dataset", "phantom", "--preset", "smoke", "--precision", "float32", "--set", *SETTINGS]
    words += ["--out", str(root / "out"), "--cache", str(root / "cache")]
    sys.argv = ["adbench", "run", "--method", *METHODS, *words]
    with suppress(SystemExit):
        app.main()
    if len(read_records(root / "out")) != len(METHODS):
        raise SystemExit("the serial run failed")
    return root / "out"


@dataclass
class Tally:
    struck: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    runs: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Of `suite run` that it took to finish, by fault."""

    def show(self) -> None:
        print(f"{'fault':36} {'struck':>6} {'wrong':>6} {'runs to finish':>15}")
        for name in FAULTS:
            runs = self.runs[name]
            most = f"at most {max(runs)}" if runs else ""
            print(f"{name:36} {self.struck[name]:6} {self.wrong[name]:6} {most:>15}")
        print(f"{'all':36} {self.struck.total():6} {self.wrong.total():6}")


def try_once(trial: Trial, serial: Path, tally: Tally) -> None:
    """One fault or two, and then everything to its end."""
    trial.folder.mkdir()
    names = [trial.chance.choice(list(FAULTS))]
    if names[0] != "full disk" and trial.chance.random() < 0.5:
        names.append(trial.chance.choice([name for name in FAULTS if name != "full disk"]))
    try:
        struck = [name for name in names if FAULTS[name](trial)]
        runs = trial.finish()
        check(trial, serial)
    except (WrongError, TimeoutError) as error:
        print(f"{', then '.join(names)}: {error}\n{trial.folder}", flush=True)
        tally.wrong.update(names)
        return
    tally.struck.update(struck)
    for name in names:
        tally.runs[name].append(runs)
    if os.path.ismount(trial.folder):
        subprocess.run(["umount", trial.folder], check=True)
    shutil.rmtree(trial.folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    global duration_s
    root, tally = Path(tempfile.mkdtemp(prefix="adbench-faults-")), Tally()
    process.begin = fork
    driver.POLL_S, loop.CHECKPOINT_EVERY_S = 0.05, -1.0
    grid = f"methods = {METHODS}\nsettings = {SETTINGS}\ndatasets = ['phantom']\n"
    (root / "suite.toml").write_text(f"[[grids]]\npreset = 'smoke'\nprecision = 'float32'\n{grid}", encoding="utf-8")
    serial = run_serial(root / "serial")
    undisturbed = Trial(root / "undisturbed", random.Random())
    undisturbed.folder.mkdir()
    began = time.monotonic()
    undisturbed.finish()
    duration_s = time.monotonic() - began
    check(undisturbed, serial)
    print(f"undisturbed: {duration_s:.1f} s", flush=True)
    for n in count():
        late = time.monotonic() - began > 60 * given.minutes
        if late or tally.struck.total() + tally.wrong.total() >= given.faults:
            break
        try_once(Trial(root / f"trial-{n}", random.Random(f"{given.seed}-{n}")), serial, tally)
    tally.show()
    if not tally.wrong:
        shutil.rmtree(root)
    return int(bool(tally.wrong))


if __name__ == "__main__":
    sys.exit(main())
