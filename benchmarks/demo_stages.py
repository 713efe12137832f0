"""Run the demo in empty folders and print its time by stage; what is installed is not part of it.

    python benchmarks/demo_stages.py --method M ... [--preset demo] [--limit-s 360]

`make bench` gives it the methods of `make demo`. A clock stands where the progress bars would: the time between two
reports is charged to the stage that the later one ends. Exit code 1 where a run failed or the whole took longer than
the limit.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

FITTING, TIMING = "fitting on", ": timing"
"""What the harness says before it fits, and before it times, a method."""


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


class StageReporter:
    """Charges seconds to stages, in the order in which they first end."""

    def __init__(self, stage: str) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}
        """Stage -> seconds by the clock and of processor time (of all threads)."""
        self._last, self._next = _now(), stage
        self._began = self._last[0]

    def charge(self, stage: str, then: str) -> None:
        """Charge the time since the last report to `stage`; what follows is `then`, unless a report says more."""
        now, spent = _now(), self.seconds.get(stage, (0.0, 0.0))
        if stage not in self.seconds:
            print(f"{now[0] - self._began:7.1f} s  {stage}", file=sys.stderr, flush=True)
        self.seconds[stage] = (spent[0] + now[0] - self._last[0], spent[1] + now[1] - self._last[1])
        self._last, self._next = now, then

    def message(self, text: str) -> None:
        method = text.split()[0].rstrip(":")
        if FITTING in text:
            self.charge(self._next, f"{method}: fit")
        elif TIMING in text:
            self.charge(self._next, f"{method}: timing")

    def progress(self, what: str, done: int, total: int) -> None:
        method, colon, _ = what.partition(": ")
        self.charge(what, f"{method}: metrics" if colon else "loading parts")

    def finish(self, then: str) -> None:
        self.charge(self._next, then)


def run_demo(methods: Sequence[str], preset: str, folder: Path) -> tuple[dict[str, tuple[float, float]], bool]:
    """Return seconds by stage, and whether every method ran."""
    clock = StageReporter("import")
    from adbench.config.options import RunOptions
    from adbench.protocol import harness
    from adbench.results import pages

    clock.finish("data")
    options = RunOptions(preset=preset, out=folder / "leaderboards", cache=folder / "cache")
    records = harness.run(methods, "phantom", options, clock)
    clock.finish("pages")
    pages.write_pages(options.out)
    clock.finish("")
    for record in records:
        if record.status != "ok":
            print(f"{record.detector.name} {record.status}: {record.reason}")
    return clock.seconds, all(record.status == "ok" for record in records)


def _machine(load: float) -> str:
    import torch

    return f"{torch.get_num_threads()} threads, load average at the start {load:.1f} on {os.cpu_count()} cores"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--method", nargs="+", required=True)
    parser.add_argument("--limit-s", type=float, default=360.0)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        seconds, passed = run_demo(args.method, args.preset, Path(folder))
    total, total_cpu = (sum(part) for part in zip(*seconds.values(), strict=True))
    print(f"{'stage':36}{'clock s':>10}{'%':>8}{'processor s':>14}")
    for stage, (wall, cpu) in seconds.items():
        print(f"{stage:36}{wall:10.1f}{100 * wall / total:8.1f}{cpu:14.1f}")
    print(f"{'total':36}{total:10.1f}{100:8.1f}{total_cpu:14.1f}")
    print(f"limit {args.limit_s:.0f} s by the clock; preset {args.preset}, {_machine(load)}")
    return int(total > args.limit_s or not passed)


if __name__ == "__main__":
    sys.exit(main())
