"""How much of the machine others use while something runs here."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

SHORTEST_S = 0.2
"""The system counts processor time in hundredths of a second: of less than this no share can be told."""


@contextmanager
def others_share(share: list[float]) -> Iterator[None]:
    """Append to `share` which part of the cores that this process may run on others used during the block, in [0, 1].

    What a virtual machine's host took away is theirs too. Nothing is appended where the block was too short to tell.
    """
    cores = _own_cores()
    start, own, busy = time.perf_counter(), time.process_time(), _busy_s(cores)
    yield
    wall_s, own_s = time.perf_counter() - start, time.process_time() - own
    if wall_s >= SHORTEST_S:
        share.append(min(1.0, max(0.0, (_busy_s(cores) - busy - own_s) / (wall_s * len(cores)))))


def _own_cores() -> list[int]:
    """The cores that this process may run on; all of them where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _busy_s(cores: list[int]) -> float:
    """Seconds that these cores have worked since the machine started, for whomever."""
    times = psutil.cpu_times(percpu=True)
    return sum(_worked_s(times[core]) for core in cores)


def _worked_s(times: object) -> float:
    """All but waiting; time of guests is counted in `user` already."""
    idle = ("idle", "iowait", "guest", "guest_nice")
    fields: dict[str, float] = times._asdict()  # type: ignore[attr-defined]  # a named tuple, other fields by system
    return sum(value for name, value in fields.items() if name not in idle)
