"""What befalls a process: read from the folder of its trial when it begins, as `fault.json` says.

The nth call of a function strikes the process that makes it, in one process of the trial alone.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

STEPS = 12
"""Of each training."""
HOUR_S = 3600
MEMORY_BYTES = 2**30
"""What a process that eats memory may have more than it has."""
BITE_BYTES = 2**25
MEMORY_CGROUPS = Path("/sys/fs/cgroup/memory")


def kill_itself(marker: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def eat_until_refused(marker: Path) -> None:
    """Raises MemoryError."""
    used = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text("utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES, used[1]))
    try:
        _eat()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, used)


def eat_until_killed(marker: Path) -> None:
    """The kernel kills it, in a memory cgroup of its own, whose folder the marker names."""
    lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    own = next(line.split(":", 2)[2] for line in lines if line.split(":", 2)[1] == "memory")
    group = MEMORY_CGROUPS / own.strip("/") / f"adbench-faults-{os.getpid()}"
    group.mkdir()
    marker.write_text(str(group), encoding="utf-8")
    (group / "memory.limit_in_bytes").write_text(str(MEMORY_BYTES), encoding="utf-8")
    (group / "cgroup.procs").write_text(str(os.getpid()), encoding="utf-8")
    _eat()


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(b"\1" * BITE_BYTES)


def wait_for_a_signal(marker: Path) -> None:
    signal.pause()


@dataclass(frozen=True)
class Place:
    module: str
    name: str
    """Of the function, with its class before it."""
    after: bool
    """Strikes after the call, not before it."""
    of: str
    """`run`: in a worker; `suite`: in a driver."""
    most: int
    """The call that strikes is one of so many."""
    act: Callable[[Path], None] = kill_itself


LOOP, SCORING, LEDGER = "adbench.training.loop", "adbench.protocol.scoring", "adbench.execution.ledger"
PLACES = {
    "worker killed, training": Place(LOOP, "learning_rate_factor", False, "run", STEPS),
    "worker killed, scoring": Place(SCORING, "map_scores", False, "run", 8),
    "worker killed, half a file written": Place("os", "fsync", False, "run", 30),
    "worker killed, before a file is in place": Place("os", "replace", False, "run", 30),
    "worker killed, after a file is in place": Place("os", "replace", True, "run", 30),
    "worker eats memory until it is refused": Place(
        LOOP, "learning_rate_factor", False, "run", STEPS, eat_until_refused
    ),
    "worker eats memory until it is killed": Place(SCORING, "map_scores", False, "run", 8, eat_until_killed),
    "driver killed, before a note": Place(LEDGER, "Ledger.write", False, "suite", 6),
    "driver killed, after a note": Place(LEDGER, "Ledger.write", True, "suite", 6),
    "driver killed, after a claim": Place(LEDGER, "Ledger.claim", True, "suite", 3),
}
LATE = Place(LOOP, "learning_rate_factor", False, "run", STEPS, wait_for_a_signal)
"""A training that takes as long as it may."""
NAMED = {**PLACES, "late": LATE}


def plan_strike(folder: Path, name: str, nth: int, marker: Path) -> None:
    """Processes of the trial that begin from now on strike."""
    fault = {"place": name, "nth": nth, "marker": str(marker)}
    (folder / "fault.json").write_text(json.dumps(fault), encoding="utf-8")


def plan_nothing(folder: Path) -> None:
    (folder / "fault.json").unlink(missing_ok=True)


def arm(arguments: Sequence[str]) -> None:
    """In a process that is about to carry out `adbench ARGUMENTS`."""
    folder = Path(arguments[arguments.index("--cache") + 1]).parent
    if arguments[0] == "run":
        import_module(LOOP).CHECKPOINT_EVERY_S = -1.0
        if (folder / "clock-ahead").exists():
            set_clock_ahead()
    if (folder / "fault.json").exists():
        fault = json.loads((folder / "fault.json").read_text("utf-8"))
        place = NAMED[fault["place"]]
        if place.of == arguments[0]:
            _strike(place, fault["nth"], Path(fault["marker"]))


def _strike(place: Place, nth: int, marker: Path) -> None:
    target = import_module(place.module)
    *owner, name = place.name.split(".")
    for each in owner:
        target = getattr(target, each)
    original, calls = getattr(target, name), count(1)

    def striking(*arguments: Any, **named: Any) -> Any:
        strikes = next(calls) == nth and _is_first(marker)
        if strikes and not place.after:
            place.act(marker)
        result = original(*arguments, **named)
        if strikes and place.after:
            place.act(marker)
        return result

    setattr(target, name, striking)


def _is_first(marker: Path) -> bool:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class _Ahead(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(seconds=HOUR_S)


def set_clock_ahead() -> None:
    """The clock of this process and its forks, but not that of the file system, is an hour ahead."""
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + HOUR_S
    time.time_ns = lambda: now_ns() + HOUR_S * 10**9
    import_module("adbench.protocol.recording").datetime = _Ahead
